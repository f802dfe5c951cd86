"""How the tests drive the Compare screen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from textual.app import App
from textual.pilot import Pilot

from tests.tui.world import World, drive, until
from tui.screens.compare import CompareScreen
from tui.widgets.compare_samples import CompareSamples
from tui.widgets.status_line import StatusLine

PROMPT = "The bridge opened in 1937.\nWhen did the bridge open?"


def compare(app: App[None]) -> CompareScreen:
    screen = app.screen
    assert isinstance(screen, CompareScreen)
    return screen


def driven(
    world: World,
    ids: tuple[str, ...],
    scenario: Callable[[Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = (120, 40),
    **more: bool,
) -> None:
    """Go to the screen with these runs marked, and then the scenario."""
    app = world.app(**more)

    async def whole(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: app.store_is_open)
        app.marks.mark(ids)
        await pilot.press("3")
        await until(pilot, lambda: isinstance(app.screen, CompareScreen))
        await scenario(pilot)

    drive(app, whole, size)


def said(pilot: Pilot[None]) -> str:
    return pilot.app.screen.query_one(StatusLine).sentence


def samples(pilot: Pilot[None]) -> CompareSamples:
    return pilot.app.screen.query_one(CompareSamples)
