"""The clipped objective against its formula, on each side of each clip."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.policy_loss import PolicyLoss, policy_loss


def one_token(ratio: float, advantage: float, dual_clip: float | None = None) -> tuple[PolicyLoss, float]:
    """The loss of a single token, and its gradient with respect to the log-probability."""
    log_probs = torch.tensor([[-1.0 + math.log(ratio)]], dtype=torch.float64, requires_grad=True)
    old = torch.tensor([[-1.0]], dtype=torch.float64)
    constant = torch.tensor([[advantage]], dtype=torch.float64)
    result = policy_loss(log_probs, old, constant, torch.tensor([[True]]), clip=0.2, dual_clip=dual_clip)
    result.loss.backward()
    assert log_probs.grad is not None
    return result, log_probs.grad.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "gradient"),
    [
        (1.0, 2.0, None, -2.0, -2.0),
        (1.1, 2.0, None, -2.2, -2.2),
        (1.5, 2.0, None, -2.4, 0.0),  # gained enough
        (0.5, 2.0, None, -1.0, -1.0),  # may come back
        (0.5, -2.0, None, 1.6, 0.0),  # lost enough
        (1.5, -2.0, None, 3.0, 3.0),  # must come back
        (5.0, -2.0, None, 10.0, 10.0),
        (5.0, -2.0, 3.0, 6.0, 0.0),  # bounded
        (2.0, -2.0, 3.0, 4.0, 4.0),  # below the bound
        (5.0, 2.0, 3.0, -2.4, 0.0),  # the bound is for negative advantages
        (0.5, -2.0, 3.0, 1.6, 0.0),
    ],
)
def test_which_side_clips(
    ratio: float, advantage: float, dual_clip: float | None, loss: float, gradient: float
) -> None:
    result, slope = one_token(ratio, advantage, dual_clip)
    assert result.loss.item() == pytest.approx(loss, rel=1e-12)
    assert slope == pytest.approx(gradient, rel=1e-12)
    assert result.clipped.item() == (gradient == 0.0)
    assert result.ratio.item() == pytest.approx(ratio, rel=1e-12)
    assert result.approx_kl.item() == pytest.approx(ratio - 1.0 - math.log(ratio), abs=1e-12)


@given(st.integers(0, 999), st.floats(0.0, 0.5), st.sampled_from([None, 1.5, 3.0]), st.sampled_from([math.nan, 1e3]))
def test_the_sum_is_the_formula_over_response_tokens(
    seed: int, clip: float, dual_clip: float | None, garbage: float
) -> None:
    source = torch.Generator().manual_seed(seed)
    log_probs, old, advantages = torch.randn(3, 3, 5, generator=source, dtype=torch.float64)
    mask = torch.rand(3, 5, generator=source) < 0.6
    poisoned: list[Tensor] = [
        tensor.masked_fill(~mask, garbage * sign) for tensor, sign in ((log_probs, 1), (old, -1), (advantages, -1))
    ]
    trained = poisoned[0].requires_grad_()
    result = policy_loss(trained, poisoned[1], poisoned[2], mask, clip=clip, dual_clip=dual_clip)
    total, cut = 0.0, 0
    for lp, before, a in zip(log_probs[mask].tolist(), old[mask].tolist(), advantages[mask].tolist(), strict=True):
        ratio = math.exp(lp - before)
        surrogate = min(ratio * a, min(max(ratio, 1 - clip), 1 + clip) * a)
        bounded = surrogate if dual_clip is None or a >= 0 else max(surrogate, dual_clip * a)
        total -= bounded
        cut += bounded != ratio * a
    assert result.loss.item() == pytest.approx(total, abs=1e-12)
    assert (result.tokens.item(), result.clipped.item()) == (mask.sum(), cut)
    result.loss.backward()
    assert trained.grad is not None
    assert trained.grad.isfinite().all() and (trained.grad[~mask] == 0).all()


def test_the_first_step_is_the_policy_gradient() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    advantages = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, -1.0]], dtype=torch.float64)
    log_probs = logits.log_softmax(-1)[..., 0]
    result = policy_loss(log_probs, log_probs, advantages, torch.ones(2, 3, dtype=torch.bool), clip=0.2)
    (ours,) = torch.autograd.grad(result.loss, logits, retain_graph=True)
    (reinforce,) = torch.autograd.grad(-(advantages * log_probs).sum(), logits)
    torch.testing.assert_close(ours, reinforce)
    assert result.clipped.item() == 0 and result.approx_kl.item() == 0.0


def test_a_batch_without_response_tokens_is_zero_with_zero_gradients() -> None:
    log_probs = torch.full((1, 3), torch.nan, requires_grad=True)
    result = policy_loss(log_probs, log_probs, log_probs, torch.zeros(1, 3, dtype=torch.bool), clip=0.2)
    result.loss.backward()
    assert log_probs.grad is not None
    assert result.loss.item() == 0.0 and result.tokens.item() == 0 and (log_probs.grad == 0).all()


def test_what_cannot_be_is_refused() -> None:
    row = torch.zeros(1, 2)
    with pytest.raises(InvalidInput, match="is negative"):
        policy_loss(row, row, row, row > 0, clip=-0.1)
    with pytest.raises(InvalidInput, match="dual_clip"):
        policy_loss(row, row, row, row > 0, clip=0.2, dual_clip=1.0)
    with pytest.raises(ValueError, match="advantages"):
        policy_loss(row, row, row[0], row > 0, clip=0.2)
