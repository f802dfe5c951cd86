"""The widget over the canvas repaints what changed, and nothing else."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import numpy as np
from textual.app import App, ComposeResult
from textual.containers import Container
from textual.pilot import Pilot

from tui import theme
from tui.canvas.plot import Line, Plot
from tui.widgets.chart import Chart
from tui.widgets.chart_inks import INK_CLASSES, INK_RULES


class Pane(Container):
    """What holds the styles of charts."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(INK_CLASSES)
    DEFAULT_CSS = f"""
    Pane {{
{INK_RULES}
    }}
    """


class OneChart(App[None]):
    """A chart and nothing else."""

    AUTO_FOCUS = None

    def __init__(self) -> None:
        super().__init__()
        self.register_theme(theme.DARK)
        self.register_theme(theme.LIGHT)
        self.theme = theme.DARK.name
        self.chart = Chart()

    def compose(self) -> ComposeResult:
        yield Pane(self.chart)


def line(count: int) -> Plot:
    """A falling curve of so many points on an axis that does not move."""
    x = np.arange(float(count))
    return Plot([Line("loss", x, 2.0 / (1.0 + x))], x_range=(0.0, 1000.0))


def test_a_new_point_repaints_its_own_rows_and_no_others() -> None:
    async def scenario(pilot: Pilot[None], chart: Chart) -> None:
        chart.show(line(500))
        await pilot.pause()
        before = [chart.render_line(row) for row in range(chart.size.height)]
        chart.show(line(501))
        await pilot.pause()
        assert all(chart.render_line(row) is before[row] for row in range(chart.size.height)), "the same cell as before"
        chart.show(line(520))
        await pilot.pause()
        changed = [row for row in range(chart.size.height) if chart.render_line(row) is not before[row]]
        assert len(changed) == 1

    _drive(scenario)


def test_the_focused_chart_is_marked_at_once_and_colours_follow_the_theme() -> None:
    async def scenario(pilot: Pilot[None], chart: Chart) -> None:
        chart.show(line(500))
        await pilot.pause()

        def axis_color() -> object:
            row = chart.render_line(chart.size.height - 2)
            return next(segment.style.color for segment in row if "└" in segment.text and segment.style)

        idle = axis_color()
        chart.focus()
        await pilot.pause()
        assert axis_color() != idle
        pilot.app.set_focus(None)
        await pilot.pause()
        assert axis_color() == idle
        pilot.app.theme = theme.LIGHT.name
        await pilot.pause()
        assert axis_color() != idle

    _drive(scenario)


def _drive(scenario) -> None:  # type: ignore[no-untyped-def]
    async def run() -> None:
        app = OneChart()
        async with app.run_test(size=(60, 14)) as pilot:
            await scenario(pilot, app.chart)

    asyncio.run(run())
