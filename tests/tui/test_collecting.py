"""Garbage is collected while nobody waits, and not when there is none."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from tui.collecting import Collector


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def collector() -> Iterator[tuple[Collector, dict[str, float]]]:
    """One that has begun; now, and when the last key came."""
    threshold, clock = gc.get_threshold(), {"now": 0.0, "key": 0.0}
    found = Collector(lambda: clock["key"], lambda: clock["now"])
    found.begin()
    clock["now"] = 5.0
    found.ask()
    yield found, clock
    gc.unfreeze()
    gc.set_threshold(*threshold)


def old_garbage() -> weakref.ref[Ring]:
    """Leave a ring that is as old as can be."""
    ring = Ring()
    for _ in range(6):
        gc.collect(1)
    for _ in range(100):
        gc.collect(0)
    return weakref.ref(ring)


def test_garbage_goes_once_nobody_waits_any_more(collector: tuple[Collector, dict[str, float]]) -> None:
    found, clock = collector
    ring = old_garbage()
    clock |= {"key": 10.0, "now": 11.0}
    found.ask()
    assert ring() is not None, "a key was pressed a second ago"
    clock["now"] = 12.0
    found.ask()
    assert ring() is None


def test_garbage_goes_at_last_however_many_keys_are_pressed(collector: tuple[Collector, dict[str, float]]) -> None:
    found, clock = collector
    ring = old_garbage()
    clock |= {"key": 66.0, "now": 66.0}
    found.ask()
    assert ring() is None


def test_at_rest_nothing_is_looked_through(collector: tuple[Collector, dict[str, float]]) -> None:
    found, clock = collector
    before = gc.get_stats()[2]["collections"]
    for clock["now"] in range(10, 100, 5):
        found.ask()
    assert gc.get_stats()[2]["collections"] == before


def test_the_oldest_are_not_looked_through_unasked(collector: tuple[Collector, dict[str, float]]) -> None:
    before = gc.get_stats()[2]["collections"]
    kept = [Ring() for _ in range(100_000)]
    assert len(kept) == 100_000 and gc.get_stats()[2]["collections"] == before
