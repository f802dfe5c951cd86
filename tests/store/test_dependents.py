"""What was given up for want of a parent is queued again with that parent, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence

from engine.store import attempts, dependents, experiments
from engine.store.database import Store
from engine.telemetry.states import State
from tests.store.conftest import make_spec

SEAT = {"host": "a", "index": 0, "slots": 1, "first_rank": 0}


def create(store: Store, after: Sequence[str] = ()) -> str:
    return experiments.create(store, make_spec(), after=after)


def fail(store: Store, *ids: str) -> None:
    for identity in ids:
        experiments.set_state(store, identity, State.FAILED, reason="r", exit_code=1)


def states(store: Store, *ids: str) -> list[State]:
    return [experiments.get(store, identity).state for identity in ids]


def test_a_diamond_of_children_comes_back_with_its_top(store: Store) -> None:
    top = create(store)
    left, right = create(store, [top]), create(store, [top])
    longer = create(store, [right])
    bottom = create(store, [left, longer])
    fail(store, top, left, right, longer, bottom)
    assert experiments.resume(store, top) == [left, right, longer, bottom]
    assert set(states(store, top, left, right, longer, bottom)) == {State.QUEUED}


def test_what_was_tried_or_stopped_or_has_another_failed_parent_stays(store: Store) -> None:
    parent, other = create(store), create(store)
    tried, stopped, both, waiting = (
        create(store, [parent]),
        create(store, [parent]),
        create(store, [parent, other]),
        create(store, [parent]),
    )
    below = create(store, [both])
    attempts.begin(store, tried, run_dir="/r", placement=[SEAT])
    attempts.transition(store, tried, 1, State.FAILED)
    experiments.set_state(store, stopped, State.STOPPED)
    fail(store, parent, other, both, below)
    assert experiments.resume(store, parent) == []
    assert states(store, tried, stopped, both, below, waiting) == [
        State.FAILED,
        State.STOPPED,
        State.FAILED,
        State.FAILED,
        State.QUEUED,
    ]
    assert dependents.parents_of(store, both) == {parent: State.QUEUED, other: State.FAILED}
    assert experiments.resume(store, other) == [both, below]


def test_who_gives_up_on_a_parent_that_is_queued_again_meanwhile_is_too_late(store: Store) -> None:
    parent = create(store)
    child = create(store, [parent])
    fail(store, parent)
    experiments.resume(store, parent)
    experiments.set_state(store, child, State.FAILED, reason="r", exit_code=1, for_want_of=parent)
    assert states(store, parent, child) == [State.QUEUED, State.QUEUED]
    fail(store, parent)
    experiments.set_state(store, child, State.FAILED, reason="r", exit_code=1, for_want_of=parent)
    assert states(store, child) == [State.FAILED]
