"""Going from place to place: each screen is made once, and stays as it was left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.screen import Screen

from tui.places import place

if TYPE_CHECKING:
    from tui.app import PlumblineApp
    from tui.screens.run import RunScreen


class Going:
    """The places of an app, home at the bottom and at most one of them above it, but for a run that one opens there."""

    def __init__(self, app: PlumblineApp, home: Screen[Any]) -> None:
        self._app, self._home = app, home
        self._kept: dict[str, Screen[Any]] = {}
        self._run: RunScreen | None = None

    def go(self, identity: str) -> None:
        """Go to one of the places."""
        app = self._app
        if identity == "run":
            self._go_to_run()
            return
        screen = self._home if identity == "runs" else self._place(identity)
        if screen in app.screen_stack:
            self._go_back_to(screen)
        elif app.screen in self._kept.values() and app.screen_stack[-2] is self._home:
            app.switch_screen(screen)  # the list of runs below has nothing to draw
        else:
            self._go_back_to(self._home)
            app.push_screen(screen)

    def open_run(self, identity: str) -> None:
        """Show one experiment; the one that was shown last as it was left."""
        from tui.screens.run import RunScreen

        app = self._app
        if not app.screen_stack:  # the program ends
            return
        if self._run is None:
            self._run = RunScreen(identity)
            self._keep("run", self._run)
        else:
            self._run.show_run(identity)
        if self._run in app.screen_stack:
            self._go_back_to(self._run)
        else:
            app.push_screen(self._run)

    def _go_to_run(self) -> None:
        app = self._app
        experiment = app.context.experiment
        last = self._run.experiment_id if self._run is not None else None
        shown = experiment.id if experiment is not None else last
        if shown is None:
            app.say("There is no run to show: n starts one.", "warning")
        elif app.screen is not self._run:
            self.open_run(shown)

    def _place(self, identity: str) -> Screen[Any]:
        if identity not in self._kept:
            self._keep(identity, place(identity).make())
        return self._kept[identity]

    def _keep(self, identity: str, screen: Screen[Any]) -> None:
        self._kept[identity] = screen
        self._app.install_screen(screen, identity)  # else it is thrown away when one goes elsewhere

    def _go_back_to(self, screen: Screen[Any]) -> None:
        while self._app.screen is not screen:
            self._app.screen.dismiss()
