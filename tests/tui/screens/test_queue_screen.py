"""The queue over a real database: who runs, who waits and why, and whose turn is next."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.store import bookkeeping, experiments, nodes, pipelines
from engine.telemetry.states import State
from tests.tui.world import HOSTILE, SPEC, World, drive, screen_text, shows, until
from tui.screens.queue import QueueScreen
from tui.screens.recipes import RecipesScreen
from tui.screens.run import RunScreen
from tui.widgets.status_line import StatusLine

HOSTS = "n1 slots=1\nn2 slots=1\n"


@pytest.fixture
def busy(world: World) -> World:
    """sft-0001 runs on n1; sft-0002 waits for nodes, and two stages of a pipeline wait, too."""
    from engine.spec.loading import parse_spec

    first = world.add("first", hostfile="hosts", hostfile_text=HOSTS)
    world.begin(first, hosts=("n1",))
    world.train(first, range(1, 41))
    second = world.add("second", hostfile="hosts", hostfile_text=HOSTS)
    experiments.set_state(world.store, second, State.QUEUED, reason="needs 2 nodes, 1 free; next end ≈ 02:10, sft-0001")
    spec = parse_spec(SPEC.format(name="s", steps=10, lr=1))
    taker = parse_spec("kind: eval\nmodel: {path: '${sft.model}'}\nquestions: /q.jsonl\n")
    drafts = [pipelines.Draft("sft", spec), pipelines.Draft("eval", taker, parents=["sft"])]
    pipelines.create(world.store, "facts", drafts, hostfile="hosts", hostfile_text=HOSTS)
    return world


async def open_queue(pilot: Pilot[None]) -> None:
    """Go there."""
    await shows(pilot, "sft-0001")
    await pilot.press("4")
    await until(pilot, lambda: isinstance(pilot.app.screen, QueueScreen))


def line(pilot: Pilot[None], word: str) -> str:
    """The line of the screen on which a word stands."""
    return next(each for each in screen_text(pilot.app.screen).splitlines() if word in each)


def test_it_tells_in_words_why_each_waits_and_which_nodes_are_free(busy: World) -> None:
    nodes.drain(busy.store, "n2", "n2")

    async def scenario(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "1 run, 3 wait", "on n1, 1 slot", "facts/1", "0 of 2 stages done")
        assert "needs 2 nodes, 1 free; next end ≈ 02:10, sft-0001" in line(pilot, "sft-0002")
        assert "waits for sft-0003, whose model it takes" in line(pilot, "eval-0001")
        assert "40%" in line(pilot, "sft-0001")
        await shows(pilot, "0 of 2 nodes free", "n2  □  drained: nothing new begins")
        await pilot.press("G")
        await shows(pilot, "after    sft-0003: queued, makes the model", "turn     3 of 3, priority 0")

    drive(busy.app(), scenario)


@pytest.mark.presses("go-queue", "queue-open")
def test_enter_opens_the_run_and_what_changes_appears_by_itself(busy: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "on n1, 1 slot")
        busy.end("sft-0001", State.FAILED, "out of memory")
        await shows(pilot, "0 run, 3 wait")
        await pilot.press("j")
        await shows(pilot, "sft   ○ queued  sft-0003", "eval  ○ queued")
        await pilot.press("k", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, RunScreen))

    drive(busy.app(), scenario)


@pytest.mark.presses("sooner", "later")
def test_priority_moves_a_run_in_the_line_and_is_refused_for_one_that_runs(busy: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "sft-0003")
        status = pilot.app.screen.query_one(StatusLine)
        await pilot.press("plus")
        await until(pilot, lambda: "its turn has come" in status.sentence)
        screen = pilot.app.screen
        assert isinstance(screen, QueueScreen)
        screen._table.select("sft-0003")
        await pilot.press("plus")
        await until(pilot, lambda: experiments.get(busy.store, "sft-0003").priority == 1)
        await until(pilot, lambda: line(pilot, "sft-0003").split()[1] == "1" and "+1" in line(pilot, "sft-0003"))
        await pilot.press("minus")
        await until(pilot, lambda: experiments.get(busy.store, "sft-0003").priority == 0)

    drive(busy.app(), scenario)


@pytest.mark.presses("interrupt", "queue-new")
def test_it_stops_a_run_and_starts_a_new_one_and_only_looks_when_it_is_read_only(busy: World) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "on n1, 1 slot")
        await pilot.press("I")
        await shows(pilot, "Stop sft-0001 (first)?")
        await pilot.press("escape", "n")
        await until(pilot, lambda: isinstance(pilot.app.screen, RecipesScreen))

    drive(busy.app(), scenario)

    async def looking(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "on n1, 1 slot")
        for key in ("n", "I", "C"):
            await pilot.press(key)
            await until(pilot, lambda: "Read-only" in pilot.app.screen.query_one(StatusLine).sentence)
            assert isinstance(pilot.app.screen, QueueScreen)

    drive(busy.app(readonly=True), looking)


@pytest.mark.presses("queue-pane", "queue-back")
def test_hostile_names_and_reasons_are_shown_and_not_obeyed_also_where_there_is_little_room(world: World) -> None:
    identity = world.add(HOSTILE, hostfile="x", hostfile_text=HOSTS)
    experiments.set_state(world.store, identity, State.QUEUED, reason=HOSTILE)
    bookkeeping.set_note(world.store, identity, HOSTILE)

    async def scenario(pilot: Pilot[None]) -> None:
        await open_queue(pilot)
        await shows(pilot, "[red]gone[/red]")
        await pilot.press("tab")
        await shows(pilot, "why      [red]gone[/red]")
        assert all(each.isprintable() for each in screen_text(pilot.app.screen).splitlines())
        await pilot.press("escape")
        await shows(pilot, "0 run, 1 wait")

    drive(world.app(), scenario, (80, 24))


def test_an_empty_queue_names_the_next_key(world: World, tmp_path: Path) -> None:
    async def scenario(pilot: Pilot[None]) -> None:
        await pilot.press("4")
        await shows(pilot, "Nothing runs and nothing waits.", "n  starts a run, or a pipeline")

    drive(world.app(), scenario)
