"""The digits lead to the places, and the top line says where one is."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from tests.tui.world import World, drive, screen_text, shows, until
from tui.places import PLACES
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen
from tui.widgets.top_line import TopLine


@pytest.mark.presses("go-runs", "go-run", "go-compare", "go-queue", "go-cluster", "go-index")
def test_digits_lead_to_the_run_under_the_cursor_home_again_and_to_all_other_places(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running)
        await pilot.press("2")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        await pilot.press("1")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        assert len(pilot.app.screen_stack) == 1
        for place in PLACES[2:]:
            await pilot.press(place.key)
            await until(pilot, lambda name=place.screen: name.endswith(type(pilot.app.screen).__name__))  # type: ignore[misc]
            assert len(pilot.app.screen_stack) == 2, "no place lies over another one"

    drive(world.app(), scenario)


def test_without_a_run_the_digit_of_a_run_says_what_starts_one(world: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "No runs yet.")
        await pilot.press("2")
        await shows(pilot, "There is no run to show: n starts one.")

    drive(world.app(), scenario)


def test_a_place_is_clicked_in_the_top_line(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running)
        column = screen_text(pilot.app.screen).splitlines()[0].index("2")
        await pilot.click(TopLine, offset=(column, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

    drive(world.app(), scenario, size=(80, 24))
