"""Which rows a rank computes at an optimiser step, and as which tensors."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from typing import Self, TypeVar

import torch
from torch import Tensor

IGNORED = -100

_Item = TypeVar("_Item", bound=Sized)


@dataclass(frozen=True, slots=True)
class Row:
    """One example, or several packed into one row: three int32 tensors [length]."""

    input_ids: Tensor
    labels: Tensor  # the token that each position predicts, or IGNORED
    position_ids: Tensor  # starts again at 0 with each example of a packed row
    loss_tokens: int  # labels that are not IGNORED

    @classmethod
    def of(cls, input_ids: Sequence[int], loss_mask: Sequence[bool], position_ids: Sequence[int] | None = None) -> Self:
        """Return a row of token ids, of which those with a true mask carry loss.

        The first token of an example has no token before it that could predict it, so it carries none.
        """
        ids = torch.tensor(input_ids, dtype=torch.int32)
        positions = torch.arange(len(ids), dtype=torch.int32)
        if position_ids is not None:
            positions = torch.tensor(position_ids, dtype=torch.int32)
        carries = torch.tensor(loss_mask, dtype=torch.bool) & (positions > 0)
        labels = torch.full_like(ids, IGNORED)
        labels[:-1] = torch.where(carries, ids, IGNORED)[1:]
        return cls(ids, labels, positions, int(carries.sum()))

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def lengths(self) -> list[int]:
        """The tokens of each of its examples."""
        starts = [*(self.position_ids == 0).nonzero().flatten().tolist(), len(self)]
        return [end - start for start, end in itertools.pairwise(starts)]


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Right-padded rows of one forward pass: three int64 tensors [batch, length]."""

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor


def micro_steps(rows: int, *, world_size: int, micro_batch_size: int) -> int:
    """Return how many forward passes each rank makes for `rows` rows; the same on every rank."""
    per_rank = -(-rows // world_size)
    return -(-per_rank // micro_batch_size)


def share(rows: Sequence[_Item], *, rank: int, world_size: int, parts: int) -> list[list[_Item]]:
    """Return this rank's rows of a global batch, in `parts` micro-batches, of which some may be empty.

    Rows are dealt by length: every rank gets long and short ones alike, and neighbours in length share a micro-batch,
    so that few pads are computed. Ranks differ by one row at most, and so do the micro-batches of a rank.
    """
    return _in_equal_parts(_dealt(rows, world_size, len)[rank], parts)


def plan_parts(
    rows: Sequence[_Item],
    *,
    world_size: int,
    micro_batch_size: int,
    micro_batch_tokens: int | None = None,
    width: Callable[[_Item], int] = len,
) -> list[list[list[_Item]]]:
    """Return the micro-batches of each rank, by rank: equally many, of which some may be empty.

    Rows are dealt as in `share`: what two ranks hold differs by less than the longest row. Without
    `micro_batch_tokens` their micro-batches are those of `share` too. With it, none takes more tokens, pads included,
    unless it is a single row; there are as few as that allows, and the largest of a rank is as small as it can be.
    Every rank that holds all rows finds the same plan.

    Arguments:
        micro_batch_size: most rows of a micro-batch.
        micro_batch_tokens: most tokens of a micro-batch: rows times the longest width.
        width: tokens that a row takes in a micro-batch, where that is not its length.
    """
    if micro_batch_tokens is None:
        parts = micro_steps(len(rows), world_size=world_size, micro_batch_size=micro_batch_size)
        return [_in_equal_parts(mine, parts) for mine in _dealt(rows, world_size, len)]
    dealt = _dealt(rows, world_size, width)
    cut = partial(_filled, widths={id(row): width(row) for row in rows}, most_rows=micro_batch_size)
    parts = max(len(cut(mine, most_tokens=micro_batch_tokens)) for mine in dealt)
    plan = []
    for mine in dealt:
        budgets = range(micro_batch_tokens + 1)
        least = bisect_left(budgets, True, key=lambda most_tokens: len(cut(mine, most_tokens=most_tokens)) <= parts)
        filled = cut(mine, most_tokens=least)
        plan.append(filled + [[] for _ in range(parts - len(filled))])
    return plan


def _dealt(rows: Sequence[_Item], world_size: int, width: Callable[[_Item], int]) -> list[list[_Item]]:
    """Return the rows of each rank, the longest first."""
    ordered = sorted(rows, key=width, reverse=True)
    return [ordered[rank::world_size] for rank in range(world_size)]


def _in_equal_parts(rows: list[_Item], parts: int) -> list[list[_Item]]:
    bounds = [len(rows) * part // parts for part in range(parts + 1)]
    return [rows[begin:end] for begin, end in itertools.pairwise(bounds)]


def _filled(rows: list[_Item], *, widths: Mapping[int, int], most_rows: int, most_tokens: int) -> list[list[_Item]]:
    """Return the rows, the longest first, in as few parts as can be without more than so many rows and tokens each."""
    parts: list[list[_Item]] = []
    begin = 0
    while begin < len(rows):
        room = max(1, min(most_rows, most_tokens // widths[id(rows[begin])]))
        parts.append(rows[begin : begin + room])
        begin += room
    return parts


def collate(rows: Sequence[Row], pad_id: int, device: torch.device) -> MicroBatch:
    """Return the rows as tensors; no rows become one row of two pads without loss."""
    length = max(map(len, rows), default=2)
    batch = max(1, len(rows))
    input_ids = torch.full((batch, length), pad_id, dtype=torch.int64)
    labels = torch.full((batch, length), IGNORED, dtype=torch.int64)
    position_ids = torch.arange(length).repeat(batch, 1)
    for index, row in enumerate(rows):
        size = len(row)
        input_ids[index, :size] = row.input_ids
        labels[index, :size] = row.labels
        position_ids[index, :size] = row.position_ids
        # For attention the pads continue the last example; nothing looks at them.
        position_ids[index, size:] = row.position_ids[-1] + torch.arange(1, length - size + 1)
    return MicroBatch(input_ids.to(device), labels.to(device), position_ids.to(device))
