"""Advantage estimators: with a critic (`gae`), and by comparing answers to one prompt (`rloo`, `grpo`)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.rl.masking import at_least_float32, require_same_shape


@dataclass(frozen=True, slots=True, eq=False)
class Advantages:
    """Constants for the losses: [batch, length], 0 where masked."""

    advantages: Tensor  # before whitening
    returns: Tensor  # what the critic learns: advantages + values


def gae(rewards: Tensor, values: Tensor, response_mask: Tensor, *, gamma: float, lam: float) -> Advantages:
    """Return generalised advantage estimates. Source: Schulman et al. 2016, eq. 16.

    δ_t = r_t + γ·V_{t+1} − V_t and A_t = δ_t + γλ·A_{t+1}, where t + 1 is the *next response token* and V after the
    last one is 0: masked tokens amid a response neither discount nor cut the sum. The returns are A + V.

    Arguments:
        rewards, values: [batch, length]; V_t stands at the position that predicts token t.
        response_mask: bool [batch, length].
        gamma: discount by token.
        lam: 0: one-step errors, low variance; 1: whole returns, low bias.

    Raises:
        ValueError: the shapes differ.
    """
    require_same_shape(rewards=rewards, values=values, response_mask=response_mask)
    rewards, values = at_least_float32(rewards.detach()), at_least_float32(values.detach())
    advantages = torch.zeros_like(rewards)
    next_value, next_advantage = values.new_zeros(len(values)), rewards.new_zeros(len(rewards))
    for column in range(rewards.shape[1] - 1, -1, -1):
        present = response_mask[:, column]
        error = rewards[:, column] + gamma * next_value - values[:, column]
        next_advantage = torch.where(present, error + gamma * lam * next_advantage, next_advantage)
        next_value = torch.where(present, values[:, column], next_value)
        advantages[:, column] = torch.where(present, next_advantage, 0)
    return Advantages(advantages, torch.where(response_mask, advantages + values, 0))


def rloo(scores: Tensor, groups: Tensor) -> Tensor:
    """Return each score less the mean of the *other* answers to its prompt: [answers].

    Arguments:
        scores: [answers], of the global batch, so that a group may lie on several ranks.
        groups: int64 [answers]; answers to one prompt have one number. Groups may differ in size.

    An answer alone has nothing to be compared with and gets 0. Source: Ahmadian et al. 2024, section 3.2 (REINFORCE,
    leave one out).

    Raises:
        ValueError: the shapes differ.
    """
    exact, index, size = _grouped(scores, groups)
    mean = _sums(exact, index, size) / size
    # r − (n·mean − r)/(n − 1) = (r − mean)·n/(n − 1); a mean of one is the score itself
    result = (exact - mean[index]) * (size / (size - 1).clamp_min(1))[index]
    return result.to(at_least_float32(scores).dtype)


def grpo(scores: Tensor, groups: Tensor, *, scale: bool = True, eps: float = 1e-4) -> Tensor:
    """Return each score less the mean of its group, over the group's standard deviation + `eps`: [answers].

    Arguments: as for `rloo`. The deviation is that of a sample (n − 1). An answer alone gets 0, and so does a group of
    equal scores. Without `scale` it is not divided by: the division weighs prompts that are nearly all right or nearly
    all wrong above the others (Liu et al. 2025). Source: Shao et al. 2024, section 4.1.2.

    Raises:
        ValueError: the shapes differ.
    """
    exact, index, size = _grouped(scores, groups)
    centred = exact - (_sums(exact, index, size) / size)[index]
    if scale:
        deviation = (_sums(centred.square(), index, size) / (size - 1).clamp_min(1)).sqrt()
        centred = centred / (deviation[index] + eps)
    return centred.to(at_least_float32(scores).dtype)


def token_advantages(advantages: Tensor, response_mask: Tensor) -> Tensor:
    """Return the advantage [batch] of each answer at each of its response tokens: [batch, length], 0 where masked."""
    return torch.where(response_mask, advantages.unsqueeze(-1), 0)


def _grouped(scores: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores, the place of each one's group, and the sizes of the groups; scores and sizes in float64."""
    require_same_shape(scores=scores, groups=groups)
    _, index, size = torch.unique(groups, return_inverse=True, return_counts=True)
    return scores.detach().double(), index, size.double()


def _sums(values: Tensor, index: Tensor, size: Tensor) -> Tensor:
    return torch.zeros_like(size).index_add(0, index, values)
