"""The clipped value loss against its formula, and the explained variance."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rl.moments import Moments
from engine.rl.value_loss import explained_variance, value_loss


@pytest.mark.parametrize(
    ("value", "target", "loss", "gradient"),
    [
        (0.1, 1.0, 0.5 * 0.9**2, -0.9),  # within the clip
        (0.5, 1.0, 0.5 * 0.8**2, 0.0),  # moved toward the target further than allowed
        (-0.5, 1.0, 0.5 * 1.5**2, -1.5),  # moved away: must come back
        (-0.5, -1.0, 0.5 * 0.8**2, 0.0),
        (0.5, -1.0, 0.5 * 1.5**2, 1.5),
    ],
)
def test_which_side_clips(value: float, target: float, loss: float, gradient: float) -> None:
    values = torch.tensor([[value]], dtype=torch.float64, requires_grad=True)
    mask = torch.tensor([[True]])
    result = value_loss(values, torch.zeros(1, 1), torch.tensor([[target]], dtype=torch.float64), mask, clip=0.2)
    result.loss.backward()
    assert values.grad is not None
    assert result.loss.item() == pytest.approx(loss, rel=1e-7)
    assert values.grad.item() == pytest.approx(gradient, rel=1e-12)
    assert result.clipped.item() == (gradient == 0.0)


@given(st.integers(0, 10_000), st.one_of(st.none(), st.floats(0.0, 1.0)), st.sampled_from([math.nan, math.inf, 1e3]))
def test_the_sum_is_the_formula_over_response_tokens(seed: int, clip: float | None, garbage: float) -> None:
    source = torch.Generator().manual_seed(seed)
    values, old, returns = torch.randn(3, 3, 5, generator=source, dtype=torch.float64)
    mask = torch.rand(3, 5, generator=source) < 0.6
    poisoned = [tensor.masked_fill(~mask, garbage * sign) for tensor, sign in ((values, 1), (old, -1), (returns, 2))]
    trained = poisoned[0].requires_grad_()
    result = value_loss(trained, *poisoned[1:], mask, clip=clip)
    total, cut = 0.0, 0
    for v, before, r in zip(values[mask].tolist(), old[mask].tolist(), returns[mask].tolist(), strict=True):
        near = v if clip is None else min(max(v, before - clip), before + clip)
        total += 0.5 * max((v - r) ** 2, (near - r) ** 2)
        cut += (near - r) ** 2 > (v - r) ** 2
    assert result.loss.item() == pytest.approx(total, abs=1e-12)
    assert (result.tokens.item(), result.clipped.item()) == (mask.sum(), cut)
    result.loss.backward()
    assert trained.grad is not None
    assert trained.grad.isfinite().all() and (trained.grad[~mask] == 0).all()


def test_a_critic_in_bfloat16_is_compared_in_float32() -> None:
    values = torch.full((1, 1), 1.0, dtype=torch.bfloat16, requires_grad=True)
    old = torch.full((1, 1), 1.0, dtype=torch.bfloat16)
    result = value_loss(values, old, torch.tensor([[1.001]]), torch.tensor([[True]]), clip=0.2)
    assert result.loss.item() == pytest.approx(0.5e-6, rel=1e-3)


def test_explained_variance_tells_a_perfect_critic_from_a_blind_and_a_harmful_one() -> None:
    returns = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    for values, expected in ((returns, 1.0), (torch.full((1, 4), 9.0), 0.0), (-returns, -3.0), (returns + 5.0, 1.0)):
        found = explained_variance(Moments.of(returns, mask), Moments.of(returns - values, mask))
        assert found.item() == pytest.approx(expected, abs=1e-12)


def test_what_cannot_be_is_refused() -> None:
    row = torch.zeros(1, 2)
    with pytest.raises(InvalidInput, match="negative"):
        value_loss(row, row, row, row > 0, clip=-0.1)
    with pytest.raises(ValueError, match="different shapes"):
        value_loss(row, row, row[0], row > 0, clip=None)
