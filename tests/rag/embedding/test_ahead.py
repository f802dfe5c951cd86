"""A thread that makes items ahead of who takes them: same items, same order, faults and all."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rag.embedding.ahead import ahead

DEPTHS = st.integers(0, 4)


class Source:
    """Makes so many items, then fails if it is told to; knows how many it has made and whether it was closed."""

    def __init__(self, count: int, *, fails: bool = False) -> None:
        self.made, self.closed = 0, False
        self._count, self._fails = count, fails

    def items(self) -> Generator[int, None, None]:
        try:
            for number in range(self._count):
                self.made = number + 1
                yield number
            if self._fails:
                raise MemoryError("no more")
        finally:
            self.closed = True


@given(st.integers(0, 20), DEPTHS, st.booleans())
def test_all_items_come_in_their_order_and_then_what_was_raised(count: int, depth: int, fails: bool) -> None:
    source = Source(count, fails=fails)
    items = ahead(source.items(), depth, "test")
    assert [next(items) for _ in range(count)] == list(range(count))
    with pytest.raises(MemoryError if fails else StopIteration):
        next(items)
    assert source.closed


@given(st.integers(1, 20), DEPTHS, st.data())
def test_who_leaves_off_ends_the_thread_and_closes_the_source(count: int, depth: int, data: st.DataObject) -> None:
    source = Source(count)
    items = ahead(source.items(), depth, "left")
    taken = [next(items) for _ in range(data.draw(st.integers(1, count)))]
    items.close()
    assert taken == list(range(len(taken))) and source.closed
    assert not [thread for thread in threading.enumerate() if thread.name == "left"]


def test_no_more_is_made_than_was_taken_and_the_depth() -> None:
    source = Source(100)
    items = ahead(source.items(), 3, "test")
    for taken in range(1, 40):
        next(items)
        deadline = time.monotonic() + 10
        while source.made < min(taken + 3, 100):
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        assert source.made <= taken + 3
    items.close()


def test_two_in_a_row_end_together() -> None:
    source = Source(50)
    items = ahead(ahead(source.items(), 2, "inner"), 2, "outer")
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    items.close()
    assert source.closed and not [one for one in threading.enumerate() if one.name in ("inner", "outer")]
