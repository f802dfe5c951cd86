"""What becomes of a batch on so many ranks, and how many steps a run takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.spec.sections import Train


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The optimiser step of a run. Rows are examples, or packed rows."""

    batch_size: int  # rows a step, over all ranks
    ranks: int
    rows_per_rank: int  # of the fullest rank; another one may have one less
    idle_ranks: int  # ranks without a row, which compute two pads instead
    micro_steps: int  # forward passes of each rank
    micro_batch: int  # rows of the largest of them
    length: int  # tokens of the longest row
    rows: int | None  # of the training data; None: unknown
    steps: int | None  # None: unknown

    @property
    def tokens_per_step(self) -> int:
        """The most tokens that a step trains on."""
        return self.batch_size * self.length

    @property
    def tokens(self) -> int | None:
        """The most tokens that the run trains on; None: unknown."""
        return None if self.steps is None else self.steps * self.tokens_per_step

    @property
    def epochs(self) -> float | None:
        """Passes over the data; None: unknown."""
        return None if self.steps is None or not self.rows else self.steps * self.batch_size / self.rows


def plan_batch(train: Train, *, ranks: int, length: int, rows: int | None) -> BatchPlan:
    """Return how a batch is dealt, exactly as engine/train/batches.py deals it.

    Args:
        train: batch sizes, steps and epochs.
        ranks: of the run.
        length: tokens of the longest row.
        rows: of the training data; None: unknown.
    """
    per_rank = -(-train.batch_size // ranks)
    micro_steps = -(-per_rank // train.micro_batch_size)
    steps = train.steps
    if steps is None and rows:
        steps = math.ceil(train.epochs * rows / train.batch_size)
    return BatchPlan(
        batch_size=train.batch_size,
        ranks=ranks,
        rows_per_rank=per_rank,
        idle_ranks=max(0, ranks - train.batch_size),
        micro_steps=micro_steps,
        micro_batch=-(-per_rank // micro_steps),
        length=length,
        rows=rows,
        steps=steps,
    )
