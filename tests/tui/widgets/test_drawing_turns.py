"""Which charts are drawn with the key, and which a moment later."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest
from textual.app import App
from textual.widgets import Static

from tui.widgets.chart import Chart
from tui.widgets.drawing_turns import DrawingTurns


class Focusable(Static, can_focus=True):
    """All of a chart that matters here."""


@pytest.mark.parametrize(("seconds", "at_once"), [(0.0, 6), (0.02, 1)])
def test_what_takes_its_time_is_drawn_after_the_chosen_chart_and_all_is_drawn_at_last(
    seconds: float, at_once: int
) -> None:
    drawn: list[Chart] = []

    def draw(chart: Chart) -> None:
        drawn.append(chart)
        time.sleep(seconds)

    async def run() -> None:
        async with App[None]().run_test() as pilot:
            charts = [cast(Chart, Focusable()) for _ in range(6)]
            await pilot.app.screen.mount_all(charts)
            charts[3].focus()
            await pilot.pause()
            turns = DrawingTurns(pilot.app.screen, draw)
            turns.chosen_first(charts)
            assert len(drawn) == at_once and drawn[0] is charts[3]
            while len(drawn) < len(charts):
                await pilot.pause(0.01)
            assert set(drawn) == set(charts)
            drawn.clear()
            turns.all_of(charts)
            turns.all_of(charts[::-1])  # more came in before
            while len(drawn) < len(charts):
                await pilot.pause(0.01)
            assert drawn == charts[::-1]

    asyncio.run(run())
