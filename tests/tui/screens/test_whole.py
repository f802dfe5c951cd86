"""That the widgets of a screen hear of being shown, and that only what is seen is made."""

from __future__ import annotations

import asyncio

import pytest
from textual._compositor import Compositor
from textual.app import App, ComposeResult
from textual.containers import Container
from textual.screen import Screen
from textual.strip import Strip
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


class Counted(Static, can_focus=True):
    """Counts the lines that it makes."""

    made = 0

    def render_line(self, y: int) -> Strip:
        self.made += 1
        return super().render_line(y)


class Covered(WholeScreen[None]):
    """Boxes in boxes, one that covers a part of others, and one that is covered whole."""

    def compose(self) -> ComposeResult:
        yield Counted("covered", id="whole")
        yield Container(Counted("seen in part\n" * 30, id="part"))
        yield Counted("covers", id="cover")


class CoveredProgram(App[None]):
    CSS = """
    Covered {
        layers: below above;
        #whole { height: 4; width: 20; }
        #cover { layer: above; height: 5; width: 100%; border: solid red; }
        #part { height: 8; width: 40; margin: 2 0 0 6; }
        Container { height: 12; border: round green; overflow: auto; }
    }
    """

    def get_default_screen(self) -> Screen[None]:
        return Covered()


def test_what_is_seen_is_what_textual_shows_and_nothing_else_is_made() -> None:
    app = CoveredProgram()

    async def run() -> None:
        async with app.run_test(size=(60, 20)) as pilot:
            await pilot.pause()
            whole, compositor = app.screen.query_one("#whole", Counted), app.screen._compositor
            assert whole.made == 0
            every, region = lambda _: True, app.screen.size.region
            mine = compositor._render_chops(region, every)
            theirs = Compositor._render_chops(compositor, region, every)
            assert whole.made == whole.size.height
            for mine_line, their_line in zip(mine, theirs, strict=True):
                assert list(mine_line) == list(their_line)
                assert Strip.join(mine_line.values()) == Strip.join(their_line.values())

    asyncio.run(run())


def test_a_focus_that_goes_to_another_widget_has_no_third_one_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Three(WholeScreen[None]):
        def compose(self) -> ComposeResult:
            yield from (Counted(name, id=name) for name in ("first", "second", "third"))

    class ThreeProgram(App[None]):
        def get_default_screen(self) -> Screen[None]:
            return Three()

    app = ThreeProgram()

    async def run() -> None:
        async with app.run_test() as pilot:
            await pilot.pause()
            second, third = (app.screen.query_one(name, Counted) for name in ("#second", "#third"))
            before, updates = third.made, 0
            render = app.screen._compositor.render_full_update

            def counted(simplify: bool = False) -> object:
                nonlocal updates
                updates += 1
                return render(simplify)

            monkeypatch.setattr(app.screen._compositor, "render_full_update", counted)
            assert app.screen.query_one("#first").has_focus
            await pilot.press("tab")
            await pilot.pause()
            assert second.has_focus and third.made == before and updates == 0

    asyncio.run(run())
