"""Undo and redo of what people change."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.errors import NotFound, Refused
from engine.store import attempts, bookkeeping, experiments, journal
from engine.store.database import Store
from tests.store.conftest import create, end

CHANGES: dict[str, Callable[[Store, str], None]] = {
    "archived": bookkeeping.archive,
    "pinned": bookkeeping.pin,
    "tagged": lambda store, identity: bookkeeping.change_tags(store, identity, add=["new"], remove=["old"]),
    "untagged": lambda store, identity: bookkeeping.remove_tags(store, identity, ["old"]),
    "noted on": lambda store, identity: bookkeeping.set_note(store, identity, "a note"),
    "renamed": lambda store, identity: bookkeeping.rename(store, identity, "other"),
    "gave another priority to": lambda store, identity: bookkeeping.set_priority(store, identity, 5),
}


@pytest.mark.parametrize("verb", CHANGES)
def test_a_change_is_undone_and_done_again_also_after_a_restart(store: Store, verb: str) -> None:
    identity = create(store, tags=("old",))
    before = experiments.get(store, identity)
    CHANGES[verb](store, identity)
    after = experiments.get(store, identity)
    assert after != before
    later = Store.open(store.path)
    assert journal.undo(later) == journal.Step(f"{verb} {identity}", (identity,))
    assert experiments.get(store, identity) == before
    assert journal.redo(store).what == f"{verb} {identity}"
    assert experiments.get(later, identity) == after
    later.close()


def test_several_are_changed_together_or_not_at_all(store: Store) -> None:
    ids = [create(store) for _ in range(3)]
    attempts.begin(store, ids[2], run_dir="/r", placement=[])
    with pytest.raises(Refused, match=f"{ids[2]} is staging"):
        bookkeeping.archive(store, ids)
    with pytest.raises(NotFound):
        bookkeeping.add_tags(store, [ids[0], "sft-9999"], ["x"])
    assert [one.archived_at for one in experiments.list_experiments(store)] == [None] * 3
    with pytest.raises(Refused, match="there is nothing to undo"):
        journal.undo(store)
    bookkeeping.archive(store, ids[:2])
    assert [one.id for one in experiments.list_experiments(store)] == [ids[2]]
    assert journal.undo(store).what == "archived 2 runs"
    assert len(experiments.list_experiments(store)) == 3


def test_steps_are_undone_in_turn_and_a_new_one_forgets_what_was_undone(store: Store) -> None:
    identity = create(store)
    for note in ("one", "two", "three"):
        bookkeeping.set_note(store, identity, note)
    bookkeeping.set_note(store, identity, "three")  # changes nothing, so there is no step

    def note() -> str | None:
        return experiments.get(store, identity).note

    assert [(journal.undo(store), note())[1] for _ in range(3)] == ["two", "one", None]
    assert [(journal.redo(store), note())[1] for _ in range(2)] == ["one", "two"]
    bookkeeping.pin(store, identity)
    with pytest.raises(Refused, match="there is nothing to do again"):
        journal.redo(store)
    assert (journal.undo(store).what, note()) == (f"pinned {identity}", "two")


def test_what_was_changed_since_is_not_undone_and_the_step_before_it_can_be(store: Store) -> None:
    identity, other = create(store), create(store)
    bookkeeping.pin(store, other)
    bookkeeping.archive(store, identity)
    end(store, identity)
    experiments.resume(store, identity)  # brings it back
    with pytest.raises(Refused, match=f'"archived {identity}" is not undone: {identity} was archived or brought back'):
        journal.undo(store)
    assert journal.undo(store).what == f"pinned {other}"
    end(store, other)
    bookkeeping.delete(store, other)
    with pytest.raises(Refused, match=f"{other} was deleted since"):
        journal.redo(store)
