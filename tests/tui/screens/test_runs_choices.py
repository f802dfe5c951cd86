"""Filter, order, groups, columns and saved views of the Runs screen, driven by keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import views
from tests.tui.screens.test_runs_changes import home, said
from tests.tui.world import World, drive, screen_text, shows, until
from tui.screens.menu import MenuScreen
from tui.screens.runs import RunsScreen


@pytest.fixture
def mixed(world: World) -> World:
    for number in range(1, 4):
        identity = world.add(f"run_{number}", lr=1e-3 * number, tags=("base",) if number == 1 else ("two words",))
        world.begin(identity)
        world.train(identity, [1], loss=lambda step, number=number: float((number * 2) % 5), entropy=float(number))
    world.add_ppo("policy", kl_target=4.0)
    return world


def order(pilot: Pilot[None]) -> list[str]:
    """The ids of the list, from top to bottom."""
    screen = pilot.app.screen
    assert isinstance(screen, RunsScreen)
    return [one.id for one in screen.table.experiments]


@pytest.mark.presses("filter")
def test_the_filter_completes_with_tab_and_arrow_and_says_what_is_wrong(mixed: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("slash")
        await shows(pilot, "a|b  either")
        await pilot.press(*"sta")
        await shows(pilot, "state:", "stage:", "how it stands")
        await pilot.press("tab", *"r")
        await shows(pilot, "3 of 4", "running")
        await pilot.press("right", "space", *"-tag:")
        await shows(pilot, '"two words"')
        await pilot.press("tab")
        await shows(pilot, 'state:running -tag:"two words"', "1 of 4")
        assert order(pilot) == ["sft-0001"]
        await pilot.press("tab")
        await shows(pilot, "state:running -tag:base", "2 of 4")
        await pilot.press("space", *"stat:x")
        await shows(pilot, "25: there is no key stat. Did you mean state?")
        await pilot.press("enter")
        screen = await home(pilot)
        assert not screen.table.has_focus
        await pilot.press("escape")
        await shows(pilot, "4 runs")
        await pilot.press("slash", *"cfg.kl_target<=4")
        await shows(pilot, "1 of 4")
        assert order(pilot) == ["ppo-0001"]

    drive(mixed.app(), scenario)


@pytest.mark.presses("sort")
def test_the_order_is_chosen_from_a_menu_and_turns_round_when_chosen_again(mixed: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("o")
        await shows(pilot, "sort by", "newest first", "entropy")
        menu = pilot.app.screen
        assert isinstance(menu, MenuScreen)
        notes = {choice.id: choice.note for choice in menu._choices}
        assert notes["last.loss"] == notes["best.loss"] == "lowest (best) first"
        assert notes["-last.tokens_per_second"] == notes["-best.tokens_per_second"] == "highest (best) first"
        assert notes["-last.entropy"] == "highest first" and "-best.entropy" not in notes
        menu.dismiss("best.loss")
        await until(pilot, lambda: order(pilot) == ["sft-0003", "sft-0001", "sft-0002", "ppo-0001"])
        await pilot.press("o")
        await shows(pilot, "best.loss", "lowest (best) first")
        await pilot.press("9")
        screen = await home(pilot)
        await until(pilot, lambda: order(pilot) == ["ppo-0001", "sft-0001", "sft-0002", "sft-0003"])
        await pilot.press("o", "9")
        await until(pilot, lambda: order(pilot) == ["sft-0003", "sft-0002", "sft-0001", "ppo-0001"])
        await shows(pilot, "name↓", "name ↓")
        header = next(line for line in screen_text(screen).splitlines() if "latest" in line)
        await pilot.click(screen.table, offset=(header.index("latest") - 1, 0))
        await until(pilot, lambda: order(pilot) == ["sft-0002", "sft-0001", "sft-0003", "ppo-0001"])

    drive(mixed.app(), scenario)


@pytest.mark.presses("group", "open")
def test_groups_fold_and_the_next_run_is_never_a_heading(mixed: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("O")
        await shows(pilot, "group by")
        await pilot.press("1")
        await shows(pilot, "▾  ppo  1 run", "▾  sft  3 runs   ● 3", "by kind")
        screen = await home(pilot)
        assert screen.neighbour("ppo-0001", 1) == "sft-0003"
        await pilot.press("left")
        await shows(pilot, "▸  sft  3 runs")
        assert order(pilot) == ["ppo-0001"] and screen.selected is None
        await pilot.press("K")
        await until(pilot, lambda: "There is no run under the cursor" in said(pilot))
        await pilot.press("enter")
        await shows(pilot, "▾  sft", "sft-0001")
        await pilot.press("O")
        await shows(pilot, "+ groups within", "data.train")
        await pilot.press("plus")
        await shows(pilot, "then by", "Within kind:", "data.train")
        await pilot.press("4")
        await shows(pilot, "▾  sft  3 runs", "  ▾  running  3 runs", "  ▾  queued  1 run", "by kind ▸ state")
        screen.table.select("kind:sft\nstate:running")
        await pilot.press("left")
        await shows(pilot, "  ▸  running  3 runs")
        await pilot.press("left", "left")
        await shows(pilot, "▸  sft  3 runs")
        assert order(pilot) == ["ppo-0001"]
        await pilot.press("O")
        await shows(pilot, "group by")
        await pilot.press("0")
        await until(pilot, lambda: "▾" not in screen_text(pilot.app.screen))

    drive(mixed.app(), scenario)


@pytest.mark.presses("columns")
def test_columns_are_ticked_and_show_metrics_and_keys_of_specs(mixed: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("c")
        await shows(pilot, "columns", "share done", "entropy")
        await pilot.press(*"entropy", "space", *["backspace"] * 7, *"train.lr", "space", *["backspace"] * 8)
        await pilot.press(*"done", "space")
        await pilot.press("enter")
        await home(pilot)
        await shows(pilot, "entropy", " lr ", "0.003")
        assert "done" not in screen_text(pilot.app.screen)

    drive(mixed.app(), scenario, (200, 40))


@pytest.mark.presses("views")
def test_a_view_is_saved_used_again_after_a_restart_and_deleted(mixed: World) -> None:
    async def save(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("slash", *"kind:sft", "enter", "O", "1", "w", "s")
        await shows(pilot, "save this view as", "Saved are kind:sft, by kind.")
        await pilot.press("enter")
        await shows(pilot, "A view needs a name.")
        await pilot.press(*"mine", "enter")
        await shows(pilot, "view mine")

    async def use(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("w")
        await shows(pilot, "mine", "kind:sft, by kind")
        await pilot.press("1")
        await shows(pilot, "view mine", "▾  sft  3 runs", "3 of 4")
        await pilot.press("w", "delete")
        await until(pilot, lambda: not views.saved(mixed.store))
        await pilot.press("w", "0")
        await shows(pilot, "ppo-0001")

    drive(mixed.app(), save)
    drive(mixed.app(), use)


@pytest.mark.presses("runs-export")
def test_the_list_is_written_as_filtered_or_marked_and_marked_runs_as_a_page(
    mixed: World, tmp_path: Path, pages: list[list[str]]
) -> None:

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "ppo-0001")
        await pilot.press("slash", *"kind:sft", "enter", "e")
        await shows(pilot, "all 3 runs of the list as CSV", "runs.html")
        await pilot.press("h")
        await until(pilot, lambda: said(pilot) == f"Wrote {tmp_path / 'runs.html'}.")
        await pilot.press("space", "space", "e")
        await shows(pilot, "2 marked runs as CSV", "2 runs side by side")
        await pilot.press("c")
        await until(pilot, lambda: said(pilot) == f"Wrote {tmp_path / 'runs.csv'}.")
        await pilot.press("e", "p")
        await until(pilot, lambda: said(pilot) == f"Wrote {tmp_path / 'sft-0003-sft-0002.html'}.")

    drive(mixed.app(), scenario)
    lines = (tmp_path / "runs.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in lines] == ["id", "sft-0003", "sft-0002"]
    page = (tmp_path / "runs.html").read_text()
    assert "<title>3 experiments</title>" in page and "kind:sft" in page and "ppo-0001" not in page
    assert pages == [["sft-0003", "sft-0002"]]
