"""The batch arithmetic of a plan is that of the trainer."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.plan.batch import plan_batch, plan_episodes
from engine.spec.ppo import Rollout
from engine.spec.sections import Train
from engine.train.batches import Row, micro_steps, plan_parts, share

SIZES = st.integers(1, 40)


@given(SIZES, SIZES, SIZES)
def test_rows_are_dealt_as_the_trainer_deals_them(rows: int, ranks: int, micro: int) -> None:
    plan = plan_batch(Train(batch_size=rows, micro_batch_size=micro), ranks=ranks, length=9, rows=None)
    assert plan.micro_steps == micro_steps(rows, world_size=ranks, micro_batch_size=micro)
    batch = [Row.of([1, 2], [True, True]) for _ in range(rows)]
    shares = [share(batch, rank=rank, world_size=ranks, parts=plan.micro_steps) for rank in range(ranks)]
    assert plan.micro_batch == max(len(part) for parts in shares for part in parts)
    assert plan.rows_per_rank == max(sum(map(len, parts)) for parts in shares)
    assert plan.idle_ranks == sum(not any(parts) for parts in shares)


@given(SIZES, SIZES, SIZES, st.integers(1, 60), st.integers(2, 12))
def test_micro_batches_of_so_many_tokens_are_cut_as_the_trainer_cuts_them(
    rows: int, ranks: int, micro: int, tokens: int, length: int
) -> None:
    train = Train(batch_size=rows, micro_batch_size=micro, micro_batch_tokens=tokens)
    plan = plan_batch(train, ranks=ranks, length=length, rows=None)
    batch = [Row.of(list(range(length)), [True] * length) for _ in range(rows)]
    cut = plan_parts(batch, world_size=ranks, micro_batch_size=micro, micro_batch_tokens=tokens)
    assert plan.micro_steps == max(map(len, cut))
    most = max(len(part) for parts in cut for part in parts)
    # The trainer fills its parts as evenly as the tokens allow.
    assert plan.micro_batch == most


@given(SIZES, st.integers(1, 4), SIZES, SIZES, st.integers(1, 3))
def test_episodes_are_dealt_to_ranks_and_optimiser_steps(
    prompts: int, samples: int, ranks: int, size: int, passes: int
) -> None:
    rollout = Rollout(prompts=prompts, samples_per_prompt=samples, batch_size=4)
    batch, plan = plan_episodes(
        Train(batch_size=size, epochs=2), rollout, ranks=ranks, length=9, rows=100, inner_epochs=passes
    )
    order = list(range(prompts * samples))
    minibatches = [order[at : at + size] for at in range(0, len(order), size)]
    assert plan.optimizer_steps == passes * len(minibatches) and plan.last_batch == len(minibatches[-1])
    assert batch.batch_size == max(map(len, minibatches)) and plan.episodes == len(order)
    own = [order[rank::ranks] for rank in range(ranks)]
    assert plan.episodes_per_rank == max(map(len, own)) and plan.idle_ranks == own.count([])
    rounds = [own[0][at : at + 4] for at in range(0, len(own[0]), 4)]
    assert plan.rounds == len(rounds) and plan.at_once == len(rounds[0])
    assert batch.steps == math.ceil(200 / prompts) and batch.tokens_per_step == 9 * len(order)
    assert batch.epochs is not None and batch.epochs >= 2


def test_a_pair_is_two_sequences() -> None:
    plan = plan_batch(Train(batch_size=8, steps=3, micro_batch_tokens=40), ranks=1, length=10, rows=None, sequences=2)
    assert plan.tokens == 3 * 8 * 2 * 10
    assert plan.micro_batch == 2 and plan.micro_steps == 4


@given(st.integers(1, 10_000), st.floats(0.01, 20), SIZES)
def test_steps_are_counted_as_the_trainer_counts_them(rows: int, epochs: float, size: int) -> None:
    plan = plan_batch(Train(batch_size=size, epochs=epochs), ranks=2, length=9, rows=rows)
    assert plan.steps == math.ceil(epochs * rows / size)
    assert plan.tokens == plan.steps * size * 9


def test_what_is_unknown_stays_unknown() -> None:
    unknown = plan_batch(Train(), ranks=2, length=9, rows=None)
    assert unknown.steps is None and unknown.tokens is None and unknown.epochs is None
    fixed = plan_batch(Train(steps=7), ranks=2, length=9, rows=None)
    assert fixed.steps == 7 and fixed.epochs is None
