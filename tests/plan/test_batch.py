"""The batch arithmetic of a plan is that of the trainer."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from engine.plan.batch import plan_batch
from engine.spec.sections import Train
from engine.train.batches import Row, micro_steps, share

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
