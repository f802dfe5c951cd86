"""Experiments: their ids and names, what may be done to them when, and how they are listed."""

from __future__ import annotations

import math
from typing import Any

import pytest
from sqlalchemy import event

from engine.errors import InvalidInput, NotFound, Refused
from engine.store import attempts, bookkeeping, dependents, experiments, facts, series
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import Desired, State
from tests.store.conftest import create, end, make_spec

NODES = [{"host": "a", "index": 0, "slots": 2, "first_rank": 0}, {"host": "b", "index": 1, "slots": 2, "first_rank": 2}]


def test_ids_count_by_kind_and_are_never_used_again(store: Store) -> None:
    assert [create(store), create(store)] == ["sft-0001", "sft-0002"]
    end(store, "sft-0002")
    bookkeeping.delete(store, "sft-0002")
    assert create(store) == "sft-0003"
    with store.write() as connection:
        connection.exec_driver_sql("UPDATE counters SET last_number = 9999")
    assert create(store) == "sft-10000"


def test_an_experiment_is_what_was_asked_for(store: Store) -> None:
    parent = create(store, "parent")
    spec = make_spec(name="from-spec", note="why", seed=3)
    identity = experiments.create(
        store,
        spec,
        tags=("b", "a", "b"),
        hostfile="/h/two",
        hostfile_text="a slots=2\n",
        after=[parent, parent],
        parent_id=parent,
    )
    found = experiments.get(store, identity)
    assert (found.name, found.kind, found.note, found.tags) == ("from-spec", "sft", "why", ("a", "b"))
    assert (found.state, found.desired, found.step, found.progress) == (State.QUEUED, Desired.RUN, 0, None)
    assert (found.parent_id, found.hostfile, found.attempts, found.nodes) == (parent, "/h/two", 0, None)
    assert experiments.hostfile_text(store, identity) == "a slots=2\n"
    assert experiments.get_spec(store, identity) == spec
    assert dependents.dependencies(store) == {identity: {parent: State.QUEUED}}
    assert found.spec_hash != experiments.get(store, parent).spec_hash
    assert experiments.get(store, experiments.create(store, spec)).spec_hash == found.spec_hash
    with pytest.raises(NotFound):
        create(store, after=["sft-9999"])
    assert len(experiments.list_experiments(store)) == 3


def test_a_reference_is_an_id_a_name_or_the_unique_beginning_of_an_id(store: Store) -> None:
    for name in ("base", "wide", "wide", "sft-0001"):
        create(store, name)
    for reference, identity in {"sft-0001": "sft-0001", "base": "sft-0001", "sft-0004": "sft-0004"}.items():
        assert experiments.resolve(store, reference) == identity
    for reference, told in {"wide": "sft-0002, sft-0003", "sft": "means 4 experiments"}.items():
        with pytest.raises(InvalidInput, match=told):
            experiments.resolve(store, reference)
    with pytest.raises(NotFound, match=r"Did you mean base\?"):
        experiments.resolve(store, "baes")
    for reference in ("", "%", "SFT_0001"):
        with pytest.raises(NotFound):
            experiments.resolve(store, reference)


@pytest.mark.parametrize(
    "act",
    [
        experiments.get,
        experiments.get_spec,
        experiments.hostfile_text,
        experiments.resume,
        bookkeeping.archive,
        bookkeeping.restore,
        bookkeeping.delete,
        attempts.list_attempts,
        attempts.contacts,
        series.names,
        facts.artifacts,
        lambda store, identity: experiments.set_desired(store, identity, Desired.STOP),
        lambda store, identity: bookkeeping.rename(store, identity, "name"),
        lambda store, identity: bookkeeping.add_tags(store, identity, ["tag"]),
        lambda store, identity: attempts.begin(store, identity, run_dir="/r", placement=[]),
        lambda store, identity: facts.cursor(store, identity, "metrics.jsonl"),
        lambda store, identity: facts.ingest(store, identity, "metrics.jsonl", Chunk((), 1, (), False), 0),
    ],
)
def test_an_unknown_id_is_said_to_be_unknown(store: Store, act: Any) -> None:
    with pytest.raises(NotFound, match="there is no experiment sft-0001"):
        act(store, "sft-0001")


def test_a_stop_is_kept_until_the_end_and_refused_after_it(store: Store) -> None:
    identity = create(store)
    for wanted, stands in (
        (Desired.RUN, Desired.RUN),
        (Desired.STOP, Desired.STOP),
        (Desired.STOP, Desired.STOP),
        (Desired.STOP_NOW, Desired.STOP_NOW),
        (Desired.STOP, Desired.STOP_NOW),
    ):
        experiments.set_desired(store, identity, wanted)
        assert experiments.get(store, identity).desired is stands
    with pytest.raises(Refused, match="is being stopped"):
        experiments.set_desired(store, identity, Desired.RUN)
    end(store, identity, State.STOPPED)
    with pytest.raises(Refused, match="has ended already: it was stopped"):
        experiments.set_desired(store, identity, Desired.STOP)


def test_only_what_has_ended_is_resumed_with_a_clean_slate(store: Store) -> None:
    identity = create(store)
    with pytest.raises(Refused, match="is queued"):
        experiments.resume(store, identity)
    number = attempts.begin(store, identity, run_dir="/r", placement=NODES).number
    experiments.set_desired(store, identity, Desired.STOP_NOW)
    attempts.transition(store, identity, number, State.FAILED, reason="out of memory", exit_code=1)
    bookkeeping.archive(store, identity)
    before = experiments.get(store, identity)
    assert (before.state, before.reason, before.exit_code, before.nodes) == (State.FAILED, "out of memory", 1, 2)
    experiments.resume(store, identity, make_spec(seed=7))
    after = experiments.get(store, identity)
    assert (after.state, after.desired) == (State.QUEUED, Desired.RUN)
    assert (after.reason, after.exit_code, after.ended_at, after.archived_at) == (None, None, None, None)
    assert experiments.get_spec(store, identity).seed == 7 and after.spec_hash != before.spec_hash
    assert attempts.begin(store, identity, run_dir="/r", placement=NODES[:1]).number == 2
    assert experiments.get(store, identity).nodes == 1


def test_the_queue_is_told_of_once_and_ends_without_an_attempt(store: Store) -> None:
    identity = create(store)
    experiments.set_state(store, identity, State.QUEUED, reason="waits for sft-0009 to free a")
    version = store.data_version()
    experiments.set_state(store, identity, State.QUEUED, reason="waits for sft-0009 to free a")
    assert store.data_version() == version
    experiments.set_state(store, identity, State.FAILED, reason="refused.", exit_code=4)
    ended = experiments.get(store, identity)
    assert (ended.state, ended.reason, ended.exit_code) == (State.FAILED, "refused.", 4) and ended.ended_at
    with pytest.raises(Refused):
        experiments.set_state(store, identity, State.QUEUED)


def test_the_list_costs_the_same_statements_however_long_it_is(store: Store) -> None:
    for number in range(12):
        identity = create(store, tags=("even",) if number % 2 == 0 else ())
        metrics = {"loss": math.nan, "lr": 0.5, "grad_norm": math.inf}
        chunk = Chunk([MetricsRecord(1.0, 1, 3, metrics)], 10, (), False)
        facts.ingest(store, identity, "metrics.jsonl", chunk, 0)
    statements: list[str] = []

    def count(*told: Any) -> None:
        statements.append(told[2])

    event.listen(store._engine, "before_cursor_execute", count)
    listed = experiments.list_experiments(store)
    assert len(statements) == 3 and not any("points" in statement for statement in statements)
    assert [found.id for found in listed] == [f"sft-{number:04d}" for number in range(12, 0, -1)]
    assert listed[-1].tags == ("even",) and list(listed[0].last) == ["loss", "lr", "grad_norm"]
    assert math.isnan(listed[0].last["loss"]) and listed[0].last["grad_norm"] == math.inf
    assert [found.id for found in experiments.unfinished(store)] == [found.id for found in listed][::-1]


def test_attempts_move_forward_only_and_take_the_experiment_along(store: Store) -> None:
    identity = create(store)
    first = attempts.begin(store, identity, run_dir="/r", placement=NODES)
    assert (first.number, first.state, first.placement) == (1, State.STAGING, NODES)
    with pytest.raises(Refused):
        attempts.begin(store, identity, run_dir="/r", placement=NODES)
    assert [attempt.number for attempt in attempts.list_attempts(store, identity) if not attempt.state.ended] == [1]
    for state in (State.STARTING, State.RUNNING, State.RUNNING):
        attempts.transition(store, identity, 1, state)
        assert experiments.get(store, identity).state is state
    with pytest.raises(Refused):
        attempts.transition(store, identity, 1, State.STAGING)
    assert experiments.get(store, identity).started_at is not None
    attempts.transition(store, identity, 1, State.SUCCEEDED, exit_code=0)
    with pytest.raises(Refused):
        attempts.transition(store, identity, 1, State.FAILED)
    experiments.resume(store, identity)
    attempts.transition(store, identity, 1, State.SUCCEEDED)  # told twice, the second time late
    assert experiments.get(store, identity).state is State.QUEUED
    assert all(attempt.state.ended for attempt in attempts.list_attempts(store, identity))
    with pytest.raises(NotFound):
        attempts.transition(store, identity, 2, State.RUNNING)


def test_contacts_keep_the_last_word_of_each_node(store: Store) -> None:
    identity = create(store)
    attempts.begin(store, identity, run_dir="/r", placement=NODES)
    attempts.hear(store, identity, 1, 1, "b", heard_at=100.0, message=None)
    attempts.hear(store, identity, 1, 0, "a", heard_at=99.0, message=None)
    attempts.hear(store, identity, 1, 1, "b", heard_at=None, message="timed out")
    told = [(contact.node, contact.heard_at, contact.message) for contact in attempts.contacts(store, identity)]
    assert told == [(0, 99.0, None), (1, 100.0, "timed out")]
    assert experiments.get(store, identity).heard_at == 100.0
