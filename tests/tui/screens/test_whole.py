"""That the widgets of a screen hear of being shown."""

from __future__ import annotations

import asyncio

from textual.app import App, ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import Static

from tui.screens.whole import WholeScreen


class Told(Static):
    """Counts how often it heard of its size."""

    heard = 0

    def on_resize(self) -> None:
        self.heard += 1


class Parts(WholeScreen[None]):
    """One part that stays, and one that comes and goes."""

    def compose(self) -> ComposeResult:
        yield Static("stays", id="stays")
        yield Container(Told("comes"), id="comes")


class Program(App[None]):
    def get_default_screen(self) -> Screen[None]:
        return Parts()


def test_what_is_shown_hears_of_it_also_when_sizes_are_asked_for_before_the_next_layout() -> None:
    app = Program()

    async def run() -> None:
        async with app.run_test() as pilot:
            comes, told, stays = (
                app.screen.query_one("#comes"),
                app.screen.query_one(Told),
                app.screen.query_one("#stays"),
            )
            comes.display = False
            await pilot.pause()
            told.refresh()  # something hidden is to be drawn: all sizes are worked out anew when one is asked for
            await pilot.pause()
            before = told.heard
            comes.display = True
            assert stays.size
            await pilot.pause()
            assert told.heard == before + 1 and told.size.width == app.size.width

    asyncio.run(run())
