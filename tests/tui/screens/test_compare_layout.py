"""The Compare screen where there is little room, or much, and where there are no colours and no glyphs."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from tests.tui.screens.compare_screen import compare, driven
from tests.tui.world import World, shows, until
from tui.widgets.chart import Chart
from tui.widgets.compare_runs import CompareRuns


@pytest.mark.presses("compare-next-tab", "compare-previous-tab", "compare-next-page", "compare-previous-page")
@pytest.mark.presses("compare-below", "compare-above")
def test_every_tab_fits_where_it_is_narrow_and_low_and_where_it_is_large(
    world: World, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tabs = {"c": "score", "p": "against", "d": "kl_target", "m": "better", "s": "bridge", "a": "None"}

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "A ●", "B ◆", "score", "ppo-0001 1", "ppo-0002 2")
        screen = compare(pilot.app)
        runs, repainted = screen.query_one(CompareRuns), []
        with monkeypatch.context() as patch:
            patch.setattr(runs, "refresh", lambda *regions, **more: repainted.append(regions))
            runs.show(screen.compared.runs, {"A": "7.25", "B": "8.5"}, in_a_row=True)
        assert repainted
        screen.set_focus(None)  # as when the focus was to be given before there was a chart
        await pilot.resize_terminal(100, 30)
        await until(pilot, lambda: isinstance(screen.focused, Chart))
        for size in ((60, 15), (240, 70)):
            await pilot.resize_terminal(*size)
            for tab, told in tabs.items():
                await pilot.press(tab)
                await shows(pilot, "A ●", "B ◆", told)
            await pilot.press("right_square_bracket")
            await until(pilot, lambda: screen.tab == "curves")
            if size == (60, 15):
                await shows(pilot, "─ score")
                await pilot.press("pagedown")
                await shows(pilot, "─ kl")
                await pilot.press("pageup")
                await shows(pilot, "score")
                await pilot.press("s")
                await shows(pilot, "prompt 1 of 2")
                await pilot.press("down")
                await shows(pilot, "prompt 2 of 2")
                await pilot.press("up")
                await shows(pilot, "prompt 1 of 2")
                await pilot.press("c")
            await pilot.press("left_square_bracket")
            await until(pilot, lambda: screen.tab == "answers")

    driven(world, pair, scenario, (80, 24))


def test_ascii_and_no_colour_say_the_same(world: World, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUMBLINE_ASCII", "1")
    monkeypatch.setenv("NO_COLOR", "1")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "A * ppo-0001", "B o ppo-0002")
        await pilot.press("m")
        await shows(pilot, "+ better")
        await pilot.press("s")
        await shows(pilot, "prompt 1 of 2")
        await pilot.press("down")
        await shows(pilot, "{He sang.}")

    driven(world, pair, scenario)
