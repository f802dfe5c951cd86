"""Marks, bookkeeping and undo on the Runs screen, driven by keys."""

from __future__ import annotations

import pytest
from textual.pilot import Pilot

from engine.store import bookkeeping, experiments
from engine.telemetry.states import Desired, State
from tests.tui.world import World, drive, screen_text, shows, until
from tui.screens.ask import AskScreen
from tui.screens.runs import RunsScreen
from tui.widgets.status_line import StatusLine


def said(pilot: Pilot[None]) -> str:
    """What the status line says."""
    return pilot.app.screen.query_one(StatusLine).sentence


async def home(pilot: Pilot[None]) -> RunsScreen:
    """Wait until no dialogue is open."""
    await until(pilot, lambda: isinstance(pilot.app.screen, RunsScreen))
    assert isinstance(pilot.app.screen, RunsScreen)
    return pilot.app.screen


def ended(world: World, name: str, **more: object) -> str:
    identity = world.add(name, **more)
    world.begin(identity)
    world.train(identity, range(1, 10))
    world.end(identity, State.STOPPED)
    return identity


@pytest.mark.presses("mark-all", "archive", "undo", "redo")
def test_marked_runs_are_archived_together_and_undo_brings_them_back_after_a_restart(world: World) -> None:
    ids = [ended(world, f"run_{number}") for number in range(3)]
    world.begin(world.add("alive"))

    async def archive(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0004")
        await pilot.press("ctrl+a")
        await shows(pilot, "4 marked", "◆A", "◆D")
        await pilot.press("a")
        await shows(pilot, "Archive 3 runs?", "1 run stays", "$ engine archive sft-0003 sft-0002 sft-0001")
        await pilot.press("enter")  # No is the default
        await home(pilot)
        assert len(experiments.list_experiments(world.store)) == 4
        await pilot.press("a")
        await shows(pilot, "Archive 3 runs?")
        await pilot.press("y")
        await shows(pilot, "1 run")
        await until(pilot, lambda: "3 runs are archived" in said(pilot))
        assert "◆" not in screen_text(pilot.app.screen)

    async def undo(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0004")
        await pilot.press("z")
        await shows(pilot, "4 runs", *ids)
        assert said(pilot) == "Undone: archived 3 runs. ^z does it again."
        await pilot.press("ctrl+z")
        await until(pilot, lambda: len(experiments.list_experiments(world.store)) == 1)
        await pilot.press("z")
        await until(pilot, lambda: len(experiments.list_experiments(world.store)) == 4)
        await pilot.press("z")
        await until(pilot, lambda: said(pilot) == "There is nothing to undo.")

    drive(world.app(), archive)
    drive(world.app(), undo)


@pytest.mark.presses("pin", "undo")
def test_what_others_changed_since_is_not_undone(world: World) -> None:
    identity = ended(world, "one")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, identity)
        await pilot.press("p")
        await shows(pilot, "▲")
        with world.store.write() as connection:  # as a program does that keeps no journal
            connection.exec_driver_sql("UPDATE experiments SET pinned_at = 1.0")
        await pilot.press("z")
        await until(pilot, lambda: '"pinned sft-0001" is not undone: sft-0001 was pinned or unpinned' in said(pilot))

    drive(world.app(), scenario)


@pytest.mark.presses("mark", "tag", "note")
def test_tags_and_notes_are_asked_for_and_change_all_marked(world: World) -> None:
    one, two = ended(world, "one", tags=("old",)), ended(world, "two")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, two)
        await pilot.press("space", "space", "t")
        await shows(pilot, "tags of 2 runs", "They have old.")
        await pilot.press(*"new -old", "enter")
        await home(pilot)
        await until(pilot, lambda: {experiments.get(world.store, each).tags for each in (one, two)} == {("new",)})
        await pilot.press("escape", "m")
        await until(pilot, lambda: isinstance(pilot.app.screen, AskScreen))
        await pilot.press(*"good", "enter")
        await home(pilot)
        await until(pilot, lambda: experiments.get(world.store, one).note == "good")
        assert experiments.get(world.store, two).note is None
        await shows(pilot, "note      good")  # the details beside the list have read it, too
        await pilot.press("m")
        await shows(pilot, "note on sft-0001", "good")
        await pilot.press("escape", "z", "z")
        await until(pilot, lambda: experiments.get(world.store, one).tags == ("old",))

    drive(world.app(), scenario)


@pytest.mark.presses("range", "back-out")
def test_a_range_is_marked_from_one_v_to_the_next_and_escape_gives_up_one_thing_at_a_time(world: World) -> None:
    for number in range(5):
        world.add(f"run_{number}")

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0005")
        screen = await home(pilot)
        await pilot.press("v", "down", "down")
        await until(pilot, lambda: "A range begins here" in said(pilot))
        await pilot.press("v")
        await shows(pilot, "3 marked")
        assert [one.id for one in screen.marked] == ["sft-0005", "sft-0004", "sft-0003"]
        await pilot.press("G", "v", "escape")
        await until(pilot, lambda: screen.table.chosen_range is None)
        await pilot.press("slash", *"run", "enter")
        await shows(pilot, "5 of 5")
        await pilot.press("escape")
        await until(pilot, lambda: screen.view.filter == "" and len(screen.marked) == 3)
        await pilot.press("escape")
        await until(pilot, lambda: not screen.marked)

    drive(world.app(), scenario)


@pytest.mark.presses("baseline", "diff", "mark")
def test_the_baseline_has_the_letter_a_and_d_shows_what_differs_from_it(world: World) -> None:
    world.add("base", lr=1e-3)
    world.add("wide", lr=2e-3, steps=400)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "sft-0002")
        await pilot.press("d")
        await until(pilot, lambda: "has nothing to differ from" in said(pilot))
        await pilot.press("down", "b", "up", "space")
        await shows(pilot, "◉A", "◆B")
        await pilot.press("up")
        await shows(pilot, "differs from sft-0001 (baseline)")
        await pilot.press("d")
        await shows(pilot, "sft-0002 against sft-0001", "2 keys differ")
        shown = " ".join(screen_text(pilot.app.screen).split())
        assert "train.lr 0.002 ← 0.001" in shown and "train.steps 400 ← 100" in shown
        await pilot.press("escape")
        await home(pilot)
        await pilot.press("down", "b")
        await until(pilot, lambda: said(pilot) == "No baseline.")

    drive(world.app(), scenario)


@pytest.mark.presses("kill", "interrupt")
def test_marked_runs_are_stopped_together_with_what_it_costs(world: World) -> None:
    for number in range(2):
        identity = world.add(f"run_{number}")
        world.begin(identity)
        world.train(identity, range(1, 21 + number))
        world.checkpoint(identity, 15)
    done = ended(world, "done")
    bookkeeping.pin(world.store, done)

    async def scenario(pilot: Pilot[None]) -> None:
        await shows(pilot, "21/100")
        await pilot.press("ctrl+a", "K")
        await shows(pilot, "Kill 2 runs?", "Steps lost since the last checkpoints: 11.", "1 of the marked has ended")
        await shows(pilot, "$ engine stop sft-0002 sft-0001 --now")
        await pilot.press("escape")
        await home(pilot)
        assert not world.woken
        await pilot.press("I")
        await shows(pilot, "Stop 2 runs?", "no step is lost")
        await pilot.press("y")
        await until(pilot, lambda: said(pilot) == "2 runs are being stopped.")
        wanted = {experiments.get(world.store, each).desired for each in ("sft-0001", "sft-0002")}
        assert wanted == {Desired.STOP} and world.woken

    drive(world.app(), scenario)
