"""Which rows a rank computes at an optimiser step, and as which tensors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence, Sized
from dataclasses import dataclass
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
    mine = sorted(rows, key=len, reverse=True)[rank::world_size]
    bounds = [len(mine) * part // parts for part in range(parts + 1)]
    return [mine[begin:end] for begin, end in itertools.pairwise(bounds)]


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
