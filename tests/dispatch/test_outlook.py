"""Before a launch: whether it would begin at once, behind whom it would wait, and about how long it would take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.hostfile import parse_hostfile
from engine.dispatch.outlook import Durations, outlook
from engine.dispatch.placement import place
from engine.dispatch.survey import SurveyReader
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts, nodes
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import StartRecord
from engine.telemetry.states import State

HOSTS = "node-1 slots=2\nnode-2 slots=2\n"
SPEC = """
kind: sft
model: {path: /models/base}
data: {train: /data/x.jsonl}
train: {steps: 100}
placement: {nodes: %d}
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = Store.open(tmp_path / "experiments.db")
    yield found
    found.close()


def add(store: Store, count: int) -> str:
    """Queue a run on so many nodes."""
    return experiments.create(store, parse_spec(SPEC % count), hostfile="hosts", hostfile_text=HOSTS)


def run(store: Store, identity: str, *hosts: str) -> int:
    """Let it run on these nodes, whole."""
    seats = [{"host": host, "index": i, "slots": 2, "first_rank": 2 * i} for i, host in enumerate(hosts)]
    number = attempts.begin(store, identity, run_dir="/x", placement=seats).number
    for state in (State.STARTING, State.RUNNING):
        attempts.transition(store, identity, number, state)
    return number


def test_it_begins_at_once_where_enough_is_free_and_else_says_what_it_waits_for(store: Store) -> None:
    first = add(store, 1)
    run(store, first, "node-1")
    hosts, reader = parse_hostfile(HOSTS, "hosts"), SurveyReader(store)
    survey = reader.read()
    assert [(each.host, each.free, each.holders) for each in survey.machines] == [
        ("node-1", 0, [first, first]),
        ("node-2", 2, ["", ""]),
    ]
    small, large = parse_spec(SPEC % 1), parse_spec(SPEC % 2)
    assert outlook(survey, small, hosts).begins
    waits = outlook(survey, large, hosts)
    assert (waits.begins, waits.ahead) == (False, 0)
    assert waits.why_not == f"needs 2 nodes, 1 free; held by {first}"
    second = add(store, 2)
    survey = reader.read()
    assert outlook(survey, large, hosts).ahead == 1 and outlook(survey, large, hosts, priority=1).ahead == 0
    assert [(each.experiment.id, each.needs, each.why) for each in survey.waiting] == [
        (second, "2 nodes", "the dispatcher has not looked at it yet")
    ]


def test_drained_nodes_and_slots_that_others_hold_are_not_free(store: Store) -> None:
    add(store, 1)
    nodes.drain(store, "node-1", "node-1")
    lease = {"user": "anna", "host": "desk", "database": "anna@desk:/x.db", "experiment": "ppo-0012"}
    standing = {"leases": {"0": lease}, "disk": {"free_bytes": 5, "total_bytes": 9}}
    nodes.hear(store, "node-2", "node-2", heard_at=time.time(), message=None, standing=standing)
    survey = SurveyReader(store).read()
    assert [(each.free, each.drained, each.disk_free) for each in survey.machines] == [(0, True, None), (1, False, 5)]
    assert survey.machines[1].holders[0] == "anna@desk: ppo-0012"
    nodes.hear(store, "node-2", "node-2", heard_at=time.time() - 600, message=None, standing=standing)
    assert SurveyReader(store).read().machines[1].free == 2, "who held slots ten minutes ago says nothing of now"


def test_it_takes_about_as_long_as_the_last_run_like_it(store: Store) -> None:
    spec = parse_spec(SPEC % 1)
    seats = place(parse_hostfile(HOSTS, "hosts").nodes, spec.placement)
    assert Durations(store).of(spec, seats) == (None, None)
    first = add(store, 1)
    number = run(store, first, "node-1")
    began = Chunk((StartRecord(time.time() - 30, number, 0, 100),), 1, (), False)
    assert facts.ingest(store, first, "metrics.jsonl", began, 0)
    attempts.transition(store, first, number, State.SUCCEEDED)
    seconds, like = Durations(store).of(spec, seats)
    assert seconds is not None and seconds == pytest.approx(30, abs=20) and like == first
    other = parse_spec(SPEC % 1, overrides=["train.steps=7"])
    assert Durations(store).of(other, seats) == (None, None)
