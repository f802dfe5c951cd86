"""NO_COLOR and terminals that have no more than ASCII: every screen stays readable."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine.telemetry.states import State
from tests.tui.world import World, drive, screen_text, shows, until
from tui.places import PLACES
from tui.plain_output import in_ascii
from tui.screens.help import HelpScreen
from tui.screens.launch import LaunchScreen
from tui.screens.recipes import RecipesScreen

_RECIPE = """
kind: sft
model: {architecture: {layers: 2}, tokenizer: {}}
data: {train: facts.jsonl}
"""


@pytest.fixture
def plain(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Runs with names in other scripts; the terminal has no colours and no Unicode."""
    monkeypatch.setenv("PLUMBLINE_ASCII", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in ("naïve one", "模型 7"):
        identity = world.add(name)
        world.begin(identity, hosts=("n1", "nœud"))
        world.train(identity, range(1, 41), lr=1e-3)
        world.sample(identity, 40, "Où?", "À Paris … 巴黎")
    world.end("sft-0002", State.FAILED, "rank 1 → “out of memory”")
    return world


def require_plain(pilot: Pilot[None]) -> None:
    """Every cell is ASCII, no style has a colour."""
    assert screen_text(pilot.app.screen).isascii()
    styles = [segment.style for strip in pilot.app.screen._compositor.render_strips() for segment in strip]
    colors = {color for style in styles if style is not None for color in (style.color, style.bgcolor)}
    assert all(color is None or color.is_default for color in colors)


@pytest.mark.parametrize("size", [(120, 40), (80, 24)])
def test_all_places_are_ascii_and_without_colours(plain: World, size: tuple[int, int]) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0002", "x failed", "* running")
        require_plain(pilot)
        await pilot.press("space", "down", "space")
        for place in PLACES:
            await pilot.press(place.key)
            await shows(pilot, f"{place.key} {place.title}")
            await until(pilot, lambda: "reading" not in screen_text(pilot.app.screen))
            await pilot.pause()
            require_plain(pilot)

    drive(plain.app(), scenario, size)


def test_what_lies_over_the_screens_and_the_form_are_too(plain: World) -> None:
    (plain.store.path.parent / "recipes").mkdir()
    (plain.store.path.parent / "recipes" / "tiny.yaml").write_text(_RECIPE)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0002")
        await pilot.press("question_mark")
        await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen))
        await shows(pilot, "filter by words", "down j")
        require_plain(pilot)
        await pilot.press("escape", "colon")
        await shows(pilot, "engine show sft-0002")
        require_plain(pilot)
        await pilot.press("escape", "o")
        await shows(pilot, "enter choose")
        require_plain(pilot)
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipesScreen))
        await shows(pilot, "tiny.yaml")
        require_plain(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, LaunchScreen))
        await shows(pilot, "facts.jsonl")
        require_plain(pilot)

    drive(plain.app(), scenario)


def test_the_row_under_the_cursor_and_the_pane_in_focus_stand_out_without_colours(plain: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0002", "2 runs")
        strips = pilot.app.screen._compositor.render_strips()
        reversed_texts = [
            "".join(segment.text for segment in strip if segment.style is not None and segment.style.reverse)
            for strip in strips
        ]
        marked = [text for text in reversed_texts if text.strip()]
        assert ["1 Runs" in marked[0], "2 runs" in marked[1], "sft-0002" in marked[2]] == [True] * 3
        assert not any("sft-0001" in text for text in marked)

    drive(plain.app(), scenario)


def test_a_glyph_becomes_as_many_cells_of_ascii() -> None:
    assert in_ascii("naïve … 12 °C → 模型\u0301") == "naive ~ 12 'C > ????"
    assert in_ascii("╭─┤│▇") == "+-+|#"
