"""What the tests of the Run screen have in common: the screen under a pilot, and what stands on it."""

from __future__ import annotations

from textual.pilot import Pilot

from tui.screens.run import RunScreen
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.status_line import StatusLine


def screen(pilot: Pilot[None]) -> RunScreen:
    """The Run screen, whatever stands on top of it."""
    return next(screen for screen in pilot.app.screen_stack if isinstance(screen, RunScreen))


def grid(pilot: Pilot[None]) -> ChartGrid:
    return screen(pilot).query_one(ChartGrid)


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return screen(pilot).query_one(StatusLine).sentence


def steps(pilot: Pilot[None], name: str = "loss") -> list[int]:
    """The steps of the points that are drawn."""
    curve = grid(pilot).curves.series.get(name)
    return [] if curve is None else curve.step.tolist()
