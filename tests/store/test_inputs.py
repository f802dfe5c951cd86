"""What an experiment takes from others: looked up once, kept, and shown from both sides."""

from __future__ import annotations

import pytest

from engine.errors import Refused
from engine.spec.models import AnySpec
from engine.spec.references import parse
from engine.store import attempts, bookkeeping, experiments, facts
from engine.store.database import Store
from engine.store.inputs import Input, inputs_of, look_up, users_of
from engine.store.maintenance import check
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, Record, StartRecord
from engine.telemetry.states import State
from tests.store.conftest import make_spec


def run(store: Store, name: str | None, *kinds: str, ends: State | None = State.SUCCEEDED, reason: str = "") -> str:
    """An experiment that ran 30 of 60 steps, left artifacts of these kinds, and ended so; or runs still."""
    identity = experiments.create(store, make_spec(), name=name)
    placement = [{"host": "localhost", "index": 0, "slots": 1, "first_rank": 0}]
    attempts.begin(store, identity, run_dir=f"~/work/{identity}", placement=placement)
    attempts.transition(store, identity, 1, State.RUNNING)
    records: list[Record] = [StartRecord(1.0, 1, 0, 60)]
    records += [
        EventRecord(2.0, 1, "artifact", "m", step=30, data={"kind": kind, "path": f"out-{kind}", "sha256": "ab" * 32})
        for kind in kinds
    ]
    assert facts.ingest(store, identity, "events.jsonl", Chunk(tuple(records), 9, (), False), 0)
    if ends is not None:
        attempts.transition(store, identity, 1, ends, reason=reason or None)
    return identity


def found(store: Store, text: str) -> Input:
    return look_up(store, parse(text, "model.path"))


def test_a_name_means_the_newest_that_succeeded_and_an_id_that_one(store: Store) -> None:
    old, new = run(store, "facts-sft", "model"), run(store, "facts-sft", "model")
    run(store, "facts-sft", "model", ends=State.FAILED)
    run(store, "facts-sft", "model", ends=None)
    expected = Input("${facts-sft.model}", f"~/work/{new}/out-model", new, "model", "ab" * 32, 30)
    assert found(store, "${facts-sft.model}") == expected
    assert found(store, f"${{{old}.model}}").parent_id == old
    bookkeeping.archive(store, new)
    assert found(store, "${facts-sft.model}").parent_id == old
    assert found(store, f"${{{new}.artifact}}").kind == "model"


def test_paths_below_and_the_run_directory_itself(store: Store) -> None:
    identity = run(store, "facts-sft", "model")
    assert found(store, "${facts-sft.model}/config.json").path == f"~/work/{identity}/out-model/config.json"
    taken = found(store, "${facts-sft.run}/tokenizer")
    assert (taken.path, taken.kind, taken.sha256) == (f"~/work/{identity}/tokenizer", "run", None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("${fact-sft.model}", "no experiment 'fact-sft'. Did you mean facts-sft or facts-rm?"),
        ("${facts-rm.policy}", "has no artifact policy: it has reward_model. Write ${facts-rm.reward_model}."),
        ("${bare.artifact}", "bare (sft-0003) has not exactly one artifact: it has none."),
        ("${both.artifact}", "it has policy and average. Write ${both.policy} or ${both.average}."),
        ("${running.model}", "running (sft-0005) has not finished: it is running at step 0 of 60."),
        ("${broken.model}", "broken (sft-0006) failed: rank 2 ran out of memory. Resume it: engine resume sft-0006."),
        ("${stopped.model}", "stopped (sft-0007) was stopped."),
        ("${put-away.model}", "put-away (sft-0008) is archived. Restore it: engine restore sft-0008."),
    ],
)
def test_what_is_not_there_is_one_sentence_that_says_why(store: Store, text: str, says: str) -> None:
    run(store, "facts-sft", "model")
    run(store, "facts-rm", "reward_model")
    run(store, "bare")
    run(store, "both", "policy", "average")
    run(store, "running", "model", ends=None)
    run(store, "broken", "model", ends=State.FAILED, reason="rank 2 ran out of memory.")
    run(store, "stopped", "model", ends=State.STOPPED)
    bookkeeping.archive(store, run(store, "put-away", "model"))
    with pytest.raises(Refused) as caught:
        found(store, text)
    assert says in str(caught.value)


def with_path(path: str) -> AnySpec:
    return make_spec(model={"path": path})


def test_the_edge_is_seen_from_both_ends_and_outlives_the_parent(store: Store) -> None:
    parent = run(store, "facts-sft", "model")
    taken = found(store, "${facts-sft.model}")
    child = experiments.create(store, with_path(taken.path), inputs=[taken])
    assert [(each.input, each.parent_name) for each in inputs_of(store, child)] == [(taken, "facts-sft")]
    assert users_of(store, parent) == [child] and users_of(store, child) == []
    bookkeeping.delete(store, parent)
    assert [(each.input, each.parent_name) for each in inputs_of(store, child)] == [(taken, parent)]
    assert check(store) == []
    experiments.set_state(store, child, State.STOPPED)
    bookkeeping.delete(store, child)
    assert users_of(store, parent) == []


def test_a_resumed_run_keeps_what_it_took_unless_its_spec_takes_something_else(store: Store) -> None:
    run(store, "facts-sft", "model")
    first = found(store, "${facts-sft.model}")
    child = experiments.create(store, with_path(first.path), inputs=[first])
    experiments.set_state(store, child, State.STOPPED)
    run(store, "facts-sft", "model")
    second = found(store, "${facts-sft.model}")

    def resumed(spec: AnySpec | None, *inputs: Input) -> list[Input]:
        experiments.resume(store, child, spec, inputs)
        experiments.set_state(store, child, State.STOPPED)
        return [taken.input for taken in inputs_of(store, child)]

    assert resumed(None) == [first]
    assert resumed(with_path(first.path)) == [first]
    assert resumed(with_path(second.path), second) == [second]
    assert resumed(with_path("/models/other")) == []
