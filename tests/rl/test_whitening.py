"""Whitening by moments that no split of the batch changes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.rl.moments import Moments
from engine.rl.whitening import whiten


@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=6), st.sampled_from([0.0, 1e6]))
def test_moments_merge_to_those_of_the_whole(seed: int, sizes: list[int], offset: float) -> None:
    source = torch.Generator().manual_seed(seed)
    parts = [torch.randn(size, 3, generator=source, dtype=torch.float64) + offset for size in sizes]
    masks = [torch.rand(part.shape, generator=source) < 0.7 for part in parts]
    merged = Moments.merged(
        torch.stack([Moments.of(part, mask).packed() for part, mask in zip(parts, masks, strict=True)])
    )
    kept = torch.cat([part[mask] for part, mask in zip(parts, masks, strict=True)])
    assert merged.count == len(kept)
    if len(kept):
        torch.testing.assert_close(merged.mean, kept.mean(), rtol=1e-14, atol=1e-14)
        # At an offset of 1e6 a sum of squares would have lost these digits.
        torch.testing.assert_close(merged.variance, kept.var(correction=0), rtol=1e-9, atol=1e-13)


def test_a_part_without_tokens_changes_no_bit() -> None:
    values = torch.tensor([[1.0, 2.5, -0.3]])
    full = Moments.of(values, torch.ones_like(values, dtype=torch.bool))
    empty = Moments.of(values, torch.zeros_like(values, dtype=torch.bool))
    merged = Moments.merged(torch.stack([empty.packed(), full.packed(), empty.packed()]))
    assert torch.equal(merged.packed(), full.packed())
    assert Moments.merged(empty.packed()[None]).packed().tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("shift_mean", [True, False])
def test_whitened_values_are_the_formula_and_deaf_to_pads(shift_mean: bool) -> None:
    values = torch.tensor([[1.0, 2.0, torch.nan], [4.0, torch.inf, -3.0]])
    mask = torch.tensor([[True, True, False], [True, False, True]])
    kept = torch.tensor([1.0, 2.0, 4.0, -3.0])
    result = whiten(values, mask, Moments.of(values, mask), shift_mean=shift_mean)
    expected = (kept - kept.mean()) * torch.rsqrt(kept.var(correction=0) + 1e-8) + (0 if shift_mean else kept.mean())
    torch.testing.assert_close(result[mask], expected)
    assert (result[~mask] == 0).all()
    assert result.dtype == torch.float32


def test_equal_values_and_no_values_become_zero() -> None:
    values = torch.full((2, 3), 0.1)
    for mask in (torch.ones(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)):
        assert whiten(values, mask, Moments.of(values, mask)).abs().max() < 1e-6
