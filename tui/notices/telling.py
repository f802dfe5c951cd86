"""How notices reach a person: the terminal's bell, its desktop notifications (OSC 9), a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.message import Message

from tui.notices.watching import NoticeWatcher
from tui.text.safe import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual.app import App

    from engine.store.database import Store
    from tui.notices.changes import Notice
    from tui.notices.webhook import Webhook
    from tui.notices.wishes import Wishes


class WebhookFailed(Message):
    """A notice could not be delivered."""

    def __init__(self, sentence: str) -> None:
        super().__init__()
        self.sentence = sentence


class Teller:
    """Watches a database for what a person wants to know, and tells it. Its methods are for the app's thread."""

    def __init__(self, app: App[Any], wishes: Wishes) -> None:
        self._app, self._wishes = app, wishes
        self._watcher: NoticeWatcher | None = None
        self._webhook: Webhook | None = None
        if wishes.webhook is not None:
            from tui.notices.webhook import Webhook

            self._webhook = Webhook(wishes.webhook, lambda sentence: app.post_message(WebhookFailed(sentence)))

    def follow(self, store: Store) -> None:
        """Begin to watch, if there is anything to tell."""
        if self._wishes.any:
            self._watcher = NoticeWatcher(self._app, store, health="verdict" in self._wishes.on)
            self._watcher.start()

    def wake(self) -> None:
        """Look soon: the database changed."""
        if self._watcher is not None:
            self._watcher.wake()

    def stop(self) -> None:
        """End watching."""
        if self._watcher is not None:
            self._watcher.stop()

    def tell(self, found: Sequence[Notice]) -> list[Notice]:
        """Tell those that are wished for, and return them."""
        wished = [notice for notice in found if notice.event in self._wishes.on]
        if wished and self._wishes.bell:
            self._app.bell()
        for notice in wished:
            if self._wishes.osc9:
                self._write(desktop_notification(notice.sentence))
            if self._webhook is not None:
                self._webhook.send(notice)
        return wished

    def _write(self, sequence: str) -> None:
        driver = self._app._driver  # what Textual's own sequences go through
        if driver is not None and not (self._app.is_headless or self._app.is_web):
            driver.write(sequence)


def desktop_notification(sentence: str) -> str:
    """Return the escape sequence of a notification; whatever the sentence has, it cannot end the sequence early."""
    return f"\x1b]9;{visible(sentence)}\x07"
