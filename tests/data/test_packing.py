"""Packing loses nothing, mixes nothing and wastes little."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.examples import Example
from engine.data.packing import ABOUT, PackedRow, fill, fill_narrowly, pack

MAX_LENGTH = 32


@st.composite
def example_lists(draw: st.DrawFn) -> list[Example]:
    lengths = draw(st.lists(st.integers(1, MAX_LENGTH), max_size=60))
    # Each token is a number of its own, so that every one can be found again.
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return [
        Example(range(start, start + length), draw(st.tuples(*[st.booleans()] * length)), 0, f"rows:{start}")
        for start, length in zip(starts, lengths, strict=True)
    ]


def parts(row: PackedRow) -> list[tuple[list[int], list[bool]]]:
    """The examples of a row, cut where positions start again at 0."""
    cuts = [index for index, position in enumerate(row.position_ids) if position == 0] + [len(row.input_ids)]
    return [(list(row.input_ids[begin:end]), list(row.loss_mask[begin:end])) for begin, end in itertools.pairwise(cuts)]


@given(example_lists())
def test_every_example_is_in_one_row_whole_with_its_own_positions(examples: list[Example]) -> None:
    rows = pack(examples, MAX_LENGTH)
    found = sorted(part for row in rows for part in parts(row))
    assert found == sorted((list(one.input_ids), list(one.loss_mask)) for one in examples)
    for row in rows:
        assert 0 < len(row.input_ids) == len(row.loss_mask) == len(row.position_ids) <= MAX_LENGTH
        positions = [position for ids, _ in parts(row) for position in range(len(ids))]
        assert list(row.position_ids) == positions


@given(example_lists())
def test_no_two_rows_would_fit_into_one_and_the_order_is_kept(examples: list[Example]) -> None:
    rows = pack(examples, MAX_LENGTH)
    sizes = sorted(len(row.input_ids) for row in rows)
    assert len(sizes) < 2 or sizes[0] + sizes[1] > MAX_LENGTH
    assert all(list(row.input_ids) == sorted(row.input_ids) for row in rows)
    firsts = [row.input_ids[0] for row in rows]
    assert firsts == sorted(firsts)
    assert pack(examples, MAX_LENGTH) == rows


def test_a_known_case_is_packed_best() -> None:
    lengths = [20, 7, 12, 25, 32]
    examples = [Example([index] * length, (True,) * length, 0, "") for index, length in enumerate(lengths)]
    assert [sorted(set(row.input_ids)) for row in pack(examples, MAX_LENGTH)] == [[0, 2], [1, 3], [4]]


def tokens(rows: list[list[int]], lengths: list[int]) -> int:
    """Of one forward pass, pads included."""
    return len(rows) * max((sum(lengths[index] for index in row) for row in rows), default=0)


@given(st.lists(st.integers(1, MAX_LENGTH), max_size=30))
def test_narrow_rows_hold_all_and_take_no_more_tokens_than_a_row_each(lengths: list[int]) -> None:
    rows = fill_narrowly(lengths, MAX_LENGTH)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= MAX_LENGTH for row in rows)
    assert sum(lengths) <= tokens(rows, lengths) <= max(lengths, default=0) * len(lengths)


@given(st.lists(st.integers(1, MAX_LENGTH), max_size=30).map(lambda lengths: [20, *lengths]))
def test_they_take_about_as_few_tokens_as_rows_of_any_width(lengths: list[int]) -> None:
    best = min(tokens(fill(lengths, width), lengths) for width in range(max(lengths), MAX_LENGTH + 1))
    assert tokens(fill_narrowly(lengths, MAX_LENGTH), lengths) <= ABOUT * best


def test_of_widths_that_are_as_good_the_narrowest_is_taken() -> None:
    assert fill_narrowly([40] * 4, 100_000) == [[0], [1], [2], [3]]
    assert fill_narrowly([30, 10, 20], 100_000) == [[0], [1, 2]]
    with pytest.raises(ValueError, match="33 tokens"):
        fill_narrowly([3, 33], MAX_LENGTH)


def test_an_example_that_is_too_long_is_an_error() -> None:
    with pytest.raises(ValueError, match="33 tokens"):
        pack([Example([0] * 33, (True,) * 33, 0, "")], MAX_LENGTH)
