"""In which order a run sees its rows."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.examples import Example
from engine.spec.sections import Data
from engine.train.dataset import Stream, rows_of


@given(st.integers(1, 30), st.integers(0, 3), st.integers(0, 90), st.integers(0, 40))
def test_rows_come_as_given_or_anew_in_each_pass_wherever_one_begins(
    count: int, seed: int, seen: int, size: int
) -> None:
    rows = list(range(count))
    given_order = Stream(rows, seed, shuffled=False).batch(seen, size)
    assert given_order == [position % count for position in range(seen, seen + size)]
    shuffled = Stream(rows, seed)
    assert shuffled.batch(seen, size) == Stream(rows, seed).batch(0, seen + size)[seen:]
    for epoch in range(2):
        assert sorted(shuffled.batch(epoch * count, count)) == rows


def examples(count: int) -> list[Example]:
    """Of many lengths; each is told apart by its tokens."""
    return [Example([number] * (1 + number % 7), [True] * (1 + number % 7), 0, "") for number in range(count)]


def test_a_given_order_holds_from_piece_to_piece_when_examples_are_packed() -> None:
    data = Data(train="rows.jsonl", max_length=12, packing=True, order="given")
    every = examples(1300)
    packed = rows_of(every, data)
    numbers = [list(dict.fromkeys(row.input_ids.tolist())) for row in packed]
    assert Counter(number for row in numbers for number in row) == Counter(range(1300))
    pieces = [{number // 512 for number in row} for row in numbers]
    assert all(len(piece) == 1 for piece in pieces)
    assert sorted(pieces, key=min) == pieces
    # Long and short examples are spread over a piece: no part of it has the rows of short ones alone.
    filled = [len(row) for row in numbers[: len(numbers) // 3]]
    halves = filled[: len(filled) // 2], filled[len(filled) // 2 :]
    assert sum(halves[0]) / len(halves[0]) == pytest.approx(sum(halves[1]) / len(halves[1]), rel=0.15)
    assert [row.input_ids.tolist() for row in rows_of(every, data)] == [row.input_ids.tolist() for row in packed]


def test_without_packing_a_given_order_is_that_of_the_file() -> None:
    every = examples(20)
    rows = rows_of(every, Data(train="rows.jsonl", max_length=12, order="given"))
    assert [row.input_ids.tolist() for row in rows] == [list(one.input_ids) for one in every]
