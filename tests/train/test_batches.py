"""How a global batch is cut, and what its tensors hold."""

from __future__ import annotations

import random

import pytest
import torch

from engine.train.batches import IGNORED, Row, collate, micro_steps, share

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
