"""What the screens share that follow the database: they read in threads, at a pace, and say why a read failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from textual import on
from textual.events import ScreenResume
from textual.message import Message
from textual.screen import Screen

from tui.pace import Pace
from tui.widgets.status_line import StatusLine

if TYPE_CHECKING:
    from tui.app import PlumblineApp


class FollowingScreen(Screen[None]):
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

    @on(Failed)
    def _failed(self, message: Failed) -> None:
        self._refuse(message.sentence)
        self._pace.done(1.0)

    def _refuse(self, sentence: str) -> None:
        self.status.say(sentence, "error")
