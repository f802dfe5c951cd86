"""How nodes stand: what is kept of them, for how long, and that a drain stays."""

from __future__ import annotations

import pytest

from engine.store import nodes
from engine.store.database import Store


def test_a_node_is_as_it_was_last_heard_and_a_drain_stays(store: Store) -> None:
    nodes.drain(store, "a", "a")
    nodes.hear(store, "a", "a", heard_at=5.0, message=None, standing={"load": 1})
    nodes.hear(store, "a", "a", heard_at=None, message="no route to host", standing=None)
    (found,) = nodes.list_nodes(store)
    assert (found.heard_at, found.message, found.standing) == (5.0, "no route to host", {"load": 1})
    assert found.drained_at is not None and nodes.drained(store) == {"a"}
    nodes.drain(store, "a", "a", drained=False)
    assert nodes.drained(store) == frozenset() and nodes.list_nodes(store)[0].standing == {"load": 1}


def test_samples_are_kept_for_curves_and_no_longer_than_needed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000_000.0
    for hour in range(9):
        monkeypatch.setattr(nodes.time, "time", lambda hour=hour: now + 3600.0 * hour)
        nodes.hear(store, "a", "a", heard_at=now, message=None, standing={"hour": hour}, sample=True)
        nodes.hear(store, "a", "a", heard_at=now, message=None, standing={"hour": -1})
    kept = nodes.samples(store, "a")
    assert [standing["hour"] for _, standing in kept] == [2, 3, 4, 5, 6, 7, 8]
    assert nodes.samples(store, "a", since=now + 3600.0 * 8) == kept[-1:]
