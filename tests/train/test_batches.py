"""How a global batch is cut, and what its tensors hold."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.train.batches import IGNORED, Row, collate, micro_steps, plan_parts, share

CPU = torch.device("cpu")


def row(length: int, *, loss_from: int = 1) -> Row:
    return Row.of(range(100, 100 + length), [index >= loss_from for index in range(length)])


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size", [1, 2, 5, 8, 13])
@pytest.mark.parametrize("micro_batch_size", [1, 3, 8])
def test_every_row_is_computed_once_in_equally_many_steps(world_size: int, size: int, micro_batch_size: int) -> None:
    draw = random.Random(size)
    rows = [row(draw.randint(2, 30)) for _ in range(size)]
    parts = micro_steps(size, world_size=world_size, micro_batch_size=micro_batch_size)
    shares = [share(rows, rank=rank, world_size=world_size, parts=parts) for rank in range(world_size)]
    assert all(len(mine) == parts for mine in shares)
    assert all(len(part) <= micro_batch_size for mine in shares for part in mine)
    dealt = [id(one) for mine in shares for part in mine for one in part]
    assert sorted(dealt) == sorted(map(id, rows))
    per_rank = [sum(map(len, mine)) for mine in shares]
    assert max(per_rank) - min(per_rank) <= 1


ROWS = st.lists(st.integers(1, 60).map(range), min_size=1, max_size=40)
RANKS, MOST_ROWS, MOST_TOKENS = st.integers(1, 6), st.integers(1, 9), st.integers(1, 200)


def cost(part: list[range]) -> int:
    """The tokens of a micro-batch, pads included."""
    return len(part) * max(map(len, part), default=0)


@given(ROWS, RANKS, MOST_ROWS, MOST_TOKENS)
def test_parts_by_tokens_keep_every_row_once_and_the_budget(
    rows: list[range], ranks: int, most_rows: int, most_tokens: int
) -> None:
    plan = plan_parts(rows, world_size=ranks, micro_batch_size=most_rows, micro_batch_tokens=most_tokens)
    assert len(plan) == ranks and len({len(parts) for parts in plan}) == 1
    every = [part for parts in plan for part in parts]
    assert sorted(id(row) for part in every for row in part) == sorted(map(id, rows))
    assert all(len(part) <= most_rows for part in every)
    assert all(cost(part) <= most_tokens or len(part) == 1 for part in every)
    tokens = [sum(map(len, [row for part in parts for row in part])) for parts in plan]
    assert max(tokens) - min(tokens) <= max(map(len, rows))


def fewest_parts(rows: list[range], most_rows: int, most_tokens: int) -> int:
    """The least number of neighbours' groups in which rows, the longest first, keep the budget: tried out."""
    least = [0]
    for end in range(1, len(rows) + 1):
        groups = [rows[begin:end] for begin in range(end)]
        fitting = [g for g in groups if len(g) <= most_rows and (cost(g) <= most_tokens or len(g) == 1)]
        least.append(1 + min(least[end - len(group)] for group in fitting))
    return least[-1]


@given(ROWS, RANKS, MOST_ROWS, MOST_TOKENS)
def test_there_are_as_few_parts_as_the_budget_allows_and_the_largest_is_as_small_as_it_can_be(
    rows: list[range], ranks: int, most_rows: int, most_tokens: int
) -> None:
    plan = plan_parts(rows, world_size=ranks, micro_batch_size=most_rows, micro_batch_tokens=most_tokens)
    held = [sorted((row for part in parts for row in part), key=len, reverse=True) for parts in plan]
    assert len(plan[0]) == max(fewest_parts(mine, most_rows, most_tokens) for mine in held)
    for mine, parts in zip(held, plan, strict=True):
        largest = max((cost(part) for part in parts if len(part) > 1), default=0)
        if largest > max(map(len, mine), default=0):
            assert fewest_parts(mine, most_rows, largest - 1) > len(parts)


@given(ROWS, RANKS, MOST_ROWS)
def test_without_a_budget_the_parts_are_those_of_each_share(rows: list[range], ranks: int, most_rows: int) -> None:
    parts = micro_steps(len(rows), world_size=ranks, micro_batch_size=most_rows)
    shares = [share(rows, rank=rank, world_size=ranks, parts=parts) for rank in range(ranks)]
    assert plan_parts(rows, world_size=ranks, micro_batch_size=most_rows) == shares


def test_a_row_may_be_wider_than_it_is_long() -> None:
    rows = [range(4), range(6), range(2)]
    plan = plan_parts(rows, world_size=1, micro_batch_size=9, micro_batch_tokens=24, width=lambda row: 2 * len(row))
    assert [list(map(len, part)) for part in plan[0]] == [[6], [4, 2]]


def test_a_label_is_the_next_token_where_that_token_carries_loss() -> None:
    one = Row.of([5, 6, 7, 8], [False, False, True, True])
    assert one.labels.tolist() == [IGNORED, 7, 8, IGNORED]
    assert one.loss_tokens == 2


def test_the_first_token_of_each_packed_example_is_never_a_label() -> None:
    packed = Row.of([1, 2, 3, 4, 5], [True] * 5, [0, 1, 2, 0, 1])
    assert packed.labels.tolist() == [2, 3, IGNORED, 5, IGNORED]
    assert packed.loss_tokens == 3


def test_pads_stand_on_the_right_without_loss_and_without_a_border() -> None:
    batch = collate([row(4), row(2)], 9, CPU)
    assert batch.input_ids.tolist() == [[100, 101, 102, 103], [100, 101, 9, 9]]
    assert batch.labels.tolist() == [[101, 102, 103, IGNORED], [101, IGNORED, IGNORED, IGNORED]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]


def test_an_empty_micro_batch_still_runs_and_carries_no_loss() -> None:
    batch = collate([], 9, CPU)
    assert batch.input_ids.shape == batch.labels.shape == (1, 2)
    assert (batch.labels == IGNORED).all()
