"""The order of an epoch is a permutation that never changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engine.data.batching import order


@given(st.integers(0, 2**31), st.integers(0, 100), st.integers(0, 200))
def test_it_is_a_permutation(seed: int, epoch: int, count: int) -> None:
    assert sorted(order(seed, epoch, count)) == list(range(count))


def test_it_has_its_golden_values_and_differs_by_seed_and_epoch() -> None:
    assert list(order(0, 0, 8)) == [4, 5, 3, 0, 6, 1, 2, 7]
    assert len({tuple(order(seed, epoch, 20)) for seed in range(5) for epoch in range(5)}) == 25
