"""Jump mode: a letter over each pane moves the focus there."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from tests.tui.world import World, drive, screen_text, shows, until
from tui.screens.jump import JumpScreen, targets
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen


@pytest.mark.presses("jump")
def test_a_letter_moves_the_focus_and_escape_leaves_it(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running, "last metrics")
        list_of_runs = pilot.app.screen.focused
        panes = list(targets(pilot.app.screen).values())
        assert panes[0] is list_of_runs and len(panes) == 2
        await pilot.press("ctrl+o")
        await shows(pilot, "[a]", "[s]", "esc leaves")
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
        assert pilot.app.screen.focused is list_of_runs
        await pilot.press("ctrl+o", "s")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen) and pilot.app.screen.focused is panes[1])

    drive(world.app(), scenario)


@pytest.mark.presses("jump", "log")
def test_each_chart_has_a_letter_and_so_has_the_log_below(world: World, running: str) -> None:
    world.log(running, b"hello\n")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running)
        await pilot.press("enter", "l")
        await shows(pilot, "loss", "hello")
        panes = list(targets(pilot.app.screen).values())
        await pilot.press("ctrl+o")
        await until(pilot, lambda: isinstance(pilot.app.screen, JumpScreen))
        letters = "asdfghjkl"[: len(panes)]
        await shows(pilot, *(f"[{letter}]" for letter in letters))
        await pilot.press("z")
        assert "esc leaves" in screen_text(pilot.app.screen)
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.focused is panes[2])
        await pilot.press("ctrl+o", letters[-1])
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen) and pilot.app.screen.focused is panes[-1])
        assert len(panes) >= 4 and type(panes[-1]).__name__ == "LogView"

    drive(world.app(), scenario, (120, 50))
