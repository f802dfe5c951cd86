"""`engine queue`: what runs, what waits and why, in the order of turns. `engine launch --clone`: one again, changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dispatch import lifecycle
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store.database import Store
from engine.telemetry.states import State
from tests.cli.conftest import Engine

SPEC = "kind: sim\nsteps: 100\nnote: first\nplacement: {slots: 1}\n"
HOSTS = "node-1 slots=2\nnode-2 slots=2\n"


@pytest.fixture
def busy(database: Path) -> Iterator[Path]:
    """sim-0001 runs on a slot of node-1; sim-0002 waits for nodes, sim-0003, of higher priority, for sim-0001."""
    store = Store.open(database)
    for after, priority in (((), 0), ((), 0), (("sim-0001",), 1)):
        where = {"hostfile": "hosts", "hostfile_text": HOSTS}
        experiments.create(store, parse_spec(SPEC), after=after, priority=priority, **where)
    seat = {"host": "node-1", "index": 0, "slots": 1, "slot_numbers": [0], "first_rank": 0}
    number = attempts.begin(store, "sim-0001", run_dir="/x", placement=[seat]).number
    for state in (State.STARTING, State.RUNNING):
        attempts.transition(store, "sim-0001", number, state)
    experiments.set_state(store, "sim-0002", State.QUEUED, reason="needs 4 nodes, 2 free")
    yield database
    store.close()
    lifecycle.stop(database)


def test_the_queue_tells_who_has_the_next_turn_and_why_each_waits(engine: Engine, busy: Path) -> None:
    told = engine("queue", "--json").json
    assert [each["id"] for each in told["running"]] == ["sim-0001"]
    assert [(each["id"], each["place"], each["why"]) for each in told["waiting"]] == [
        ("sim-0003", 1, "waits for sim-0001, after which it comes"),
        ("sim-0002", 2, "needs 4 nodes, 2 free"),
    ]
    assert [(each["host"], each["free"], each["held_by"]) for each in told["nodes"]] == [
        ("node-1", 1, ["sim-0001"]),
        ("node-2", 2, []),
    ]
    text = engine("queue").out
    assert "node-1, 1 slot" in text and "needs 4 nodes, 2 free" in text and "2 of 2" in text


def test_a_clone_has_spec_and_nodes_of_the_first_but_for_what_is_set(engine: Engine, busy: Path) -> None:
    arguments = ("launch", "--clone", "sim-0001", "--set", "steps=7", "--after", "sim-0001", "--name", "again")
    assert engine(*arguments).out == "sim-0004\n"
    store = Store.open(busy)
    made, spec = experiments.get(store, "sim-0004"), experiments.get_spec(store, "sim-0004")
    assert (made.parent_id, made.hostfile, made.name) == ("sim-0001", "hosts", "again")
    assert experiments.hostfile_text(store, "sim-0004") == HOSTS
    assert spec.kind == "sim" and (spec.steps, spec.note) == (7, "first")
    store.close()


def test_a_launch_is_of_files_or_of_a_clone(engine: Engine, busy: Path) -> None:
    assert engine("launch").code == 2
    assert engine("launch", "x.yaml", "--clone", "sim-0001").code == 2
    assert engine("launch", "--clone", "nothing").code == 3
