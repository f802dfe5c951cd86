"""Names, tags, notes, the archive, and deletion."""

from __future__ import annotations

import pytest

from engine.errors import InvalidInput, Refused
from engine.store import attempts, bookkeeping, experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import MetricsRecord
from engine.telemetry.states import State
from tests.store.conftest import create, end


def test_what_runs_is_neither_archived_nor_deleted(store: Store) -> None:
    identity = create(store)
    attempts.begin(store, identity, run_dir="/r", placement=[])
    for act in (bookkeeping.archive, bookkeeping.delete):
        with pytest.raises(Refused, match="is staging"):
            act(store, identity)
    attempts.transition(store, identity, 1, State.LOST)
    bookkeeping.archive(store, identity)
    assert experiments.list_experiments(store) == [] and len(experiments.list_experiments(store, archived=True)) == 1
    bookkeeping.restore(store, identity)
    assert [found.id for found in experiments.list_experiments(store)] == [identity]


def test_a_deletion_takes_everything_and_nothing_that_others_wait_for(store: Store) -> None:
    parent = create(store, tags=("t",))
    child = create(store, after=[parent], parent_id=parent)
    record = MetricsRecord(1.0, 1, 1, {"loss": 1.0})
    facts.ingest(store, parent, "metrics.jsonl", Chunk([record], 10, (), False), 0)
    end(store, parent)
    with pytest.raises(Refused, match=f"{child} comes after {parent}"):
        bookkeeping.delete(store, parent)
    end(store, child, State.STOPPED)
    bookkeeping.delete(store, parent)
    assert experiments.get(store, child).parent_id is None
    with store.read() as connection:
        for table in ("tags", "series", "points", "cursors", "dependencies"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 0, table


def test_names_tags_and_notes(store: Store) -> None:
    identity = create(store, "one", tags=("a",))
    bookkeeping.rename(store, identity, "zwei\udcff")
    bookkeeping.add_tags(store, identity, ["b", "a", "\ud800"])
    bookkeeping.remove_tags(store, identity, ["a", "none"])
    bookkeeping.set_note(store, identity, "a note")
    found = experiments.get(store, identity)
    assert (found.name, found.tags, found.note) == ("zwei\ufffd", ("b", "\ufffd"), "a note")
    bookkeeping.set_note(store, identity, "")
    assert experiments.get(store, identity).note is None
    for name in ("", "  ", "x" * 201):
        with pytest.raises(InvalidInput):
            bookkeeping.rename(store, identity, name)
        with pytest.raises(InvalidInput):
            bookkeeping.add_tags(store, identity, [name])
