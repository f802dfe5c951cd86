"""Going from place to place: what is shown again is painted once, what is covered costs nothing, runs are kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from textual._compositor import Compositor
from textual.pilot import Pilot

from tests.tui.screens.run_screen import grid, screen, steps
from tests.tui.world import World, drive, shows, until
from tui.run.view import View
from tui.screens.run import RunScreen
from tui.screens.runs import RunsScreen


@contextmanager
def painted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Count how often any screen is laid out, and how often one is painted whole."""
    counted: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        for name in ("reflow", "render_full_update"):
            patch.setattr(Compositor, name, _counting(name, getattr(Compositor, name), counted))
        yield counted


def _counting(name: str, do: Callable[..., Any], counted: Counter[str]) -> Callable[..., Any]:
    def counts(*arguments: Any, **named: Any) -> Any:
        counted[name] += 1
        return do(*arguments, **named)

    return counts


async def rest(pilot: Pilot[None]) -> None:
    """Wait until what was shown again has read what is new, and has shown it."""
    pace = pilot.app.screen._pace  # type: ignore[attr-defined]
    await until(pilot, lambda: not pace._reading and pace._done_at > 0)
    for _ in range(3):
        await pilot.pause(0.02)


def test_a_place_that_is_shown_again_is_painted_once(
    world: World, running: str, pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = "12341"

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running)
        pilot.app.marks.mark(pair)  # type: ignore[attr-defined]
        for key in keys:
            await pilot.press(key)
            await rest(pilot)
        found: dict[str, list[Counter[str]]] = {key: [] for key in keys}
        for _ in range(4):  # what a slow machine had put off may come in between
            for key in keys[1:]:
                with painted(monkeypatch) as counted:
                    await pilot.press(key)
                    await rest(pilot)
                found[key].append(counted)
            if all(min(one["render_full_update"] for one in tries) == 1 for tries in found.values()):
                return
        raise AssertionError(found)

    drive(world.app(), scenario)


def test_what_stands_below_is_not_read_until_it_is_seen_again(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, running)
        runs = pilot.app.screen
        assert isinstance(runs, RunsScreen)
        await pilot.press("4")
        await shows(pilot, "1 run, 0 wait")
        before = runs.overview
        world.add("later")
        await shows(pilot, "later")
        assert runs.overview is before and not runs.is_current
        await pilot.press("colon")
        assert pilot.app.screen.is_modal and pilot.app.screen_stack[1].is_current, "this one is seen behind a question"
        await pilot.press("escape", "1")
        await shows(pilot, "later", "2 runs")

    drive(world.app(), scenario)


def test_a_run_is_shown_as_it_was_left_and_another_one_as_if_there_had_been_none(world: World, running: str) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        other = world.add("other")
        world.begin(other)
        world.train(other, range(1, 8))
        await shows(pilot, running, other)
        await pilot.press("j", "enter")
        await until(pilot, lambda: len(steps(pilot)) == 40)
        first = screen(pilot)
        await pilot.press("plus", "s")
        await pilot.press("1", "2")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))
        assert screen(pilot) is first and first.has_class("-pane") and first.focused is not None
        assert grid(pilot).view.window is not None
        await pilot.press("1", "k", "enter")
        await until(pilot, lambda: len(steps(pilot)) == 7)
        assert screen(pilot) is first and not first.has_class("-pane") and grid(pilot).view == View()
        await until(pilot, lambda: first.focused in grid(pilot).charts)
        await pilot.press("right_square_bracket")
        await until(pilot, lambda: len(steps(pilot)) == 40)
        await pilot.press("escape")
        await shows(pilot, "2 runs")
        first._left_at = -1e9
        await until(pilot, lambda: first._reader is None)  # after a while its points are given up
        await pilot.press("4", "2")
        await shows(pilot, running, "one")
        assert len(steps(pilot)) == 40 and len(pilot.app.screen_stack) == 3

    app = world.app()
    drive(app, scenario)
    app.open_run(running)  # what was looked for in a thread may be found when the program has ended
