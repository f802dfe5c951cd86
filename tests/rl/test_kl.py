"""The three estimators on a policy so small that every expectation is a sum."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.kl import Estimator, k1, k2, k3, kl_estimate, kl_loss

TOKENS = 5
finite = st.floats(-8.0, 8.0)
log_weights = st.lists(finite, min_size=TOKENS, max_size=TOKENS)


@pytest.fixture
def logits() -> Tensor:
    return torch.tensor([0.3, -1.0, 0.8, 0.1, -0.4], dtype=torch.float64, requires_grad=True)


@pytest.fixture
def reference() -> Tensor:
    return torch.tensor([-0.5, 0.2, 0.4, -0.9, 0.6], dtype=torch.float64).log_softmax(-1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum()


def expected_loss_gradient(logits: Tensor, reference: Tensor, estimate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Σ over tokens of p(token) · ∇ estimate(token): what sampling and differentiating gives on average."""
    log_p = logits.log_softmax(-1)
    return torch.autograd.grad((log_p.exp().detach() * estimate(log_p, reference)).sum(), logits)[0]


def expected_reward_gradient(logits: Tensor, reference: Tensor, estimate: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Σ p(token) · estimate(token) · ∇ log p(token): what the policy gradient makes of a penalty in the reward."""
    log_p = logits.log_softmax(-1)
    return torch.autograd.grad((log_p.exp() * estimate(log_p, reference).detach()).sum(), logits)[0]


@given(log_weights, log_weights)
def test_values_have_the_right_sign_and_expectation(p: list[float], q: list[float]) -> None:
    log_p, log_q = (torch.tensor(row, dtype=torch.float64).log_softmax(-1) for row in (p, q))
    exact = divergence(log_p, log_q)
    assert exact >= -1e-12
    for estimate in (k1, k3):
        torch.testing.assert_close((log_p.exp() * estimate(log_p, log_q)).sum(), exact, atol=1e-10, rtol=1e-10)
    assert (k2(log_p, log_q) >= 0).all()
    # An error of the last digit of the difference is all that rounding may do.
    assert (k3(log_p, log_q) >= -1e-15 * (log_p - log_q).abs()).all()


def test_divergence_scored_as_it_was_sampled_is_never_negative_on_average_and_otherwise_may_be(
    logits: Tensor, reference: Tensor
) -> None:
    greedy = logits.argmax()
    nearly = (logits.detach() + torch.tensor([0.0, 0.1, -0.05, 0.0, 0.0])).log_softmax(-1)
    log_p = logits.detach().log_softmax(-1)
    assert (log_p.exp() * k1(log_p, nearly)).sum() > 0
    assert k1(log_p, nearly)[greedy] > 0 > k1(nearly, log_p)[greedy]


def test_as_a_loss_k1_does_nothing_k2_pulls_to_the_reference_and_k3_the_other_way(
    logits: Tensor, reference: Tensor
) -> None:
    log_p = logits.log_softmax(-1)
    (forward,) = torch.autograd.grad(divergence(log_p, reference), logits, retain_graph=True)
    (opposite,) = torch.autograd.grad(divergence(reference, log_p), logits)
    torch.testing.assert_close(expected_loss_gradient(logits, reference, k1), torch.zeros(TOKENS, dtype=torch.float64))
    torch.testing.assert_close(expected_loss_gradient(logits, reference, k2), forward)
    torch.testing.assert_close(expected_loss_gradient(logits, reference, k3), opposite)
    assert not torch.allclose(forward, opposite, rtol=0.05)


def test_in_the_reward_only_k1_has_the_gradient_of_the_divergence(logits: Tensor, reference: Tensor) -> None:
    (exact,) = torch.autograd.grad(divergence(logits.log_softmax(-1), reference), logits)
    torch.testing.assert_close(expected_reward_gradient(logits, reference, k1), exact)
    for biased in (k2, k3):
        assert not torch.allclose(expected_reward_gradient(logits, reference, biased), exact, rtol=0.05)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_the_loss_is_a_sum_over_response_tokens_with_a_gradient_in_the_policy_only(estimator: Estimator) -> None:
    log_probs = torch.tensor([[-1.0, -0.5, -200.0]], requires_grad=True)
    ref = torch.tensor([[-1.2, -0.4, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    assert estimator != "k1"
    loss = kl_loss(log_probs, ref, mask, estimator)
    torch.testing.assert_close(loss, kl_estimate(log_probs[:, :2], ref[:, :2], estimator).sum())
    loss.backward()
    assert ref.grad is None
    assert log_probs.grad is not None and log_probs.grad.isfinite().all() and log_probs.grad[0, 2] == 0


def test_what_cannot_be_is_refused() -> None:
    row = torch.zeros(1, 2)
    with pytest.raises(InvalidInput, match="cannot be a loss"):
        kl_loss(row, row, row > 0, "k1")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="unknown KL estimator"):
        kl_estimate(row, row, "k4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="different shapes"):
        kl_estimate(row, row[0], "k1")
