"""What becomes of a batch on so many ranks, and how many steps a run takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.spec.ppo import Rollout
from engine.spec.sections import Train


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The optimiser step of a run. Rows are examples, packed rows, pairs, or episodes."""

    batch_size: int  # rows of an optimiser step, over all ranks
    ranks: int
    rows_per_rank: int  # of the fullest rank; another one may have one less
    idle_ranks: int  # ranks without a row, which compute two pads instead
    micro_steps: int  # forward passes of each rank
    micro_batch: int  # rows of the largest of them
    length: int  # tokens of the longest row, or of each of its sequences
    rows: int | None  # of the training data; None: unknown
    steps: int | None  # None: unknown
    rows_per_step: int  # of the training data
    tokens_per_step: int  # the most that a step trains on

    @property
    def tokens(self) -> int | None:
        """The most tokens that the run trains on; None: unknown."""
        return None if self.steps is None else self.steps * self.tokens_per_step

    @property
    def epochs(self) -> float | None:
        """Passes over the data; None: unknown."""
        return None if self.steps is None or not self.rows else self.steps * self.rows_per_step / self.rows


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """The answers of a step of PPO, which several optimiser steps then train on."""

    prompts: int
    episodes: int  # answers, over all ranks
    episodes_per_rank: int  # of the fullest rank
    idle_ranks: int  # ranks that write nothing
    at_once: int  # sequences that a rank decodes together
    rounds: int  # so often after another
    optimizer_steps: int  # of all passes over the rollout
    last_batch: int  # episodes of the last optimiser step of a pass


def plan_batch(train: Train, *, ranks: int, length: int, rows: int | None, sequences: int = 1) -> BatchPlan:
    """Return how a batch is dealt, exactly as engine/train/batches.py deals it if all rows are as long as the longest.

    Args:
        train: batch sizes, steps and epochs.
        ranks: of the run.
        length: tokens of the longest row, or of each of its sequences.
        rows: of the training data; None: unknown.
        sequences: of a row: 2 of a pair.
    """
    steps = train.steps
    if steps is None and rows:
        steps = math.ceil(train.epochs * rows / train.batch_size)
    return _dealt(
        train,
        train.batch_size,
        ranks,
        width=sequences * length,
        length=length,
        rows=rows,
        steps=steps,
        rows_per_step=train.batch_size,
        tokens_per_step=train.batch_size * sequences * length,
    )


def plan_episodes(
    train: Train, rollout: Rollout, *, ranks: int, length: int, rows: int | None, inner_epochs: int = 1
) -> tuple[BatchPlan, RolloutPlan]:
    """Return how the episodes of a step of PPO are dealt: to optimiser steps, to ranks, and to forward passes.

    Args:
        train: batch sizes, steps and epochs; a step is a rollout.
        rollout: prompts and answers a step.
        ranks: of the run.
        length: tokens of the longest prompt and response together.
        rows: prompts in the data; None: unknown.
        inner_epochs: passes over each rollout.
    """
    episodes = rollout.prompts * rollout.samples_per_prompt
    steps = train.steps
    if steps is None and rows:
        steps = math.ceil(train.epochs * rows / rollout.prompts)
    batch_size = min(train.batch_size, episodes)
    batch = _dealt(
        train,
        batch_size,
        ranks,
        width=length,
        length=length,
        rows=rows,
        steps=steps,
        rows_per_step=rollout.prompts,
        tokens_per_step=episodes * length,
    )
    own = -(-episodes // ranks)
    passes = -(-episodes // batch_size)
    return batch, RolloutPlan(
        prompts=rollout.prompts,
        episodes=episodes,
        episodes_per_rank=own,
        idle_ranks=max(0, ranks - episodes),
        at_once=min(own, rollout.batch_size),
        rounds=-(-own // rollout.batch_size),
        optimizer_steps=passes * inner_epochs,
        last_batch=episodes - (passes - 1) * batch_size,
    )


def plan_micro_batches(train: Train, rows_per_rank: int, *, width: int) -> tuple[int, int]:
    """Return forward passes of a rank, and rows of the largest; width: tokens that a row takes in one."""
    most = train.micro_batch_size
    if train.micro_batch_tokens is not None:
        most = max(1, min(most, train.micro_batch_tokens // width))
    steps = -(-rows_per_rank // most)
    return steps, -(-rows_per_rank // steps)


def _dealt(
    train: Train,
    batch_size: int,
    ranks: int,
    *,
    width: int,
    length: int,
    rows: int | None,
    steps: int | None,
    rows_per_step: int,
    tokens_per_step: int,
) -> BatchPlan:
    per_rank = -(-batch_size // ranks)
    micro_steps, micro_batch = plan_micro_batches(train, per_rank, width=width)
    return BatchPlan(
        batch_size=batch_size,
        ranks=ranks,
        rows_per_rank=per_rank,
        idle_ranks=max(0, ranks - batch_size),
        micro_steps=micro_steps,
        micro_batch=micro_batch,
        length=length,
        rows=rows,
        steps=steps,
        rows_per_step=rows_per_step,
        tokens_per_step=tokens_per_step,
    )
