"""The keys of the Run screen that its charts or its log understand."""

from __future__ import annotations

from tui.screens.following import FollowingScreen
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.log_view import RANGES
from tui.widgets.run_panes import RunPanes


class RunKeys(FollowingScreen):
    """Hands each key to what it is for."""

    _charts: ChartGrid
    _panes: RunPanes

    def action_maximise(self) -> None:
        """Give the whole screen to the focused chart, or show all again."""
        self._charts.maximise()

    def action_next_mode(self) -> None:
        """Let the x axis count the next thing."""
        self._charts.next_mode()

    def action_next_scale(self) -> None:
        """Change the y axis."""
        self._charts.next_scale()

    def action_smoother(self, by: int) -> None:
        """Smooth more or less."""
        self._charts.smoother(by)

    def action_zoom(self, direction: int) -> None:
        """Show less or more of the x axis."""
        self._charts.zoom(direction)

    def action_move(self, direction: int) -> None:
        """Move the crosshair, or the window."""
        self._charts.move(direction)

    def action_row(self, by: int) -> None:
        """Go to the chart below or above."""
        self._charts.focus_row(by)

    def action_reset(self) -> None:
        """Show everything."""
        self._charts.reset()

    def action_inspect(self) -> None:
        """Show or hide the crosshair."""
        self._charts.inspect()

    def action_page(self, by: int) -> None:
        """Show more charts."""
        self._charts.turn_page(by)

    def action_follow(self) -> None:
        """Follow the end of the log, or stop."""
        self._panes.log_view.toggle_following()
        self._panes.tell()

    def action_log(self, what: str) -> None:
        """Change how the log is shown. what: a method of `LogView`."""
        getattr(self._panes.log_view, what)()

    def action_log_range(self, digit: int) -> None:
        """Show the log of the last minutes, by the digit that means them."""
        self._panes.log_view.choose_range(RANGES[digit])
