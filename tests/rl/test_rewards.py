"""Rewards by token from the scores of answers."""

from __future__ import annotations

import pytest
import torch

from engine.errors import InvalidInput
from engine.rl.rewards import shaped_rewards, truncation_scores


def test_the_score_stands_at_the_last_response_token_and_the_penalty_at_each() -> None:
    mask = torch.tensor([[0, 1, 1, 1, 0], [1, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=torch.bool)
    kl = torch.where(mask, torch.arange(20.0).reshape(4, 5) - 5.0, torch.nan)
    scores = torch.tensor([2.0, -1.0, 0.5, 7.0])
    expected = torch.zeros(4, 5)
    expected[mask] = -0.1 * kl[mask]
    expected[0, 3] += 2.0
    expected[1, 2] -= 1.0
    expected[2, 4] += 0.5
    rewards = shaped_rewards(scores, kl, mask, 0.1)
    torch.testing.assert_close(rewards, expected)
    sums = scores - 0.1 * torch.where(mask, kl, 0).sum(1)
    torch.testing.assert_close(rewards.sum(1)[:3], sums[:3])  # the fourth answer is empty


def test_rewards_are_constants_in_float32_or_wider() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    kl = torch.ones(2, 3, dtype=torch.bfloat16, requires_grad=True)
    rewards = shaped_rewards(torch.ones(2, requires_grad=True), kl, mask, 0.1)
    assert not rewards.requires_grad
    assert rewards.dtype == torch.float32
    assert shaped_rewards(torch.ones(2), kl.double(), mask, 0.1).dtype == torch.float64


def test_truncated_answers_are_scored_as_the_policy_says() -> None:
    scores, truncated = torch.tensor([1.0, 3.0, -2.0]), torch.tensor([False, True, True])
    replaced = truncation_scores(scores, truncated, policy="replace", penalty=1.5)
    lowered = truncation_scores(scores, truncated, policy="subtract", penalty=1.5)
    assert replaced.tolist() == [1.0, -1.5, -1.5]
    assert lowered.tolist() == [1.0, 1.5, -3.5]


def test_what_does_not_fit_is_refused() -> None:
    mask = torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="do not fit"):
        shaped_rewards(torch.zeros(3), torch.zeros(2, 3), mask, 0.1)
    with pytest.raises(ValueError, match="different shapes"):
        shaped_rewards(torch.zeros(2), torch.zeros(2, 1), mask, 0.1)
    with pytest.raises(InvalidInput, match="unknown truncation policy"):
        truncation_scores(torch.zeros(2), mask[:, 0], policy="ignore", penalty=1.0)  # type: ignore[arg-type]
