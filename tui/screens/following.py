"""What the screens share that follow the database: they read in threads, at a pace, and say why a read failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import on
from textual.events import ScreenResume
from textual.message import Message

from tui.pace import Pace
from tui.screens.whole import WholeScreen
from tui.turns import undisturbed
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tui.app import PlumblineApp


class FollowingScreen(WholeScreen[None]):
    """A screen with a pace and a status line; what it reads is its own."""

    status: StatusLine
    _pace: Pace
    _styled_for: str | None = None  # the theme that its styles were worked out for

    class Failed(Message):
        """It could not be read."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def on_screen_resume(self, event: ScreenResume) -> None:
        """Keep the styles it had: to work them all out again is most of what coming back costs."""
        event.refresh_styles = self._styled_for != self.app.theme
        self._styled_for = self.app.theme
        self.call_next(self._come_back)

    def _come_back(self) -> None:
        """Stand there at once as it was left, and only then read: the thread that reads takes time from this one."""
        if self.is_current:  # else it was only passed on the way to another one
            self._on_timer_update()  # Textual would wait for the next sixtieth of a second
            self.call_later(self.shown_again)

    def _on_timer_update(self) -> None:
        """Paint what changed; a thread that reads would have half of the time meanwhile."""
        with undisturbed():
            super()._on_timer_update()

    def shown_again(self) -> None:
        """Take up what changed while other screens covered this one."""
        self.reload()

    def reload(self) -> None:
        """Read what is new, in a thread."""
        raise NotImplementedError

    def comes_too_late(self, seconds: float) -> bool:
        """Whether what was read has nobody to see it any more; then that was all: it is read again when this is shown.

        seconds: of CPU that reading took.
        """
        if self.is_current:
            return False
        self._pace.done(seconds)
        return True

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        self._refuse(message.sentence)
        self._pace.done(1.0)

    def _refuse(self, sentence: str) -> None:
        self.status.say(sentence, "error")
