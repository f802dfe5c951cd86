"""Textual's app, which writes what changed, paints a screen once when it is shown, and none that is covered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.events import ScreenSuspend
from textual.screen import Screen

if TYPE_CHECKING:
    from textual.driver import Driver


class ThriftyApp(App[None]):
    """What Textual does twice when another screen is shown costs as much time as it takes to show it."""

    def get_driver_class(self) -> type[Driver]:
        """Return what talks to the terminal."""
        from tui.thrifty_driver import thrifty

        return thrifty(super().get_driver_class())

    @property
    def _background_screens(self) -> list[Screen[Any]]:
        """The screens that are seen behind the one on top; Textual names one even where that covers it whole.

        What changes there would have the screen on top painted anew.
        """
        covers = bool(self._screen_stack) and self.screen.styles.background.a == 1
        return [] if covers else super()._background_screens

    async def _replace_screen(self, screen: Screen[Any]) -> Screen[Any]:
        """Put away a screen that is no longer shown, without asking the one that is to paint itself once more."""
        screen.post_message(ScreenSuspend())
        if not self.is_screen_installed(screen) and all(screen not in stack for stack in self._screen_stacks.values()):
            self.capture_mouse(None)
            await screen.remove()
        return screen
