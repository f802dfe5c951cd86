"""From the scores of whole answers to a reward at each token."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.masking import at_least_float32, last_position, require_same_shape


def shaped_rewards(scores: Tensor, kl: Tensor, response_mask: Tensor, kl_coef: float) -> Tensor:
    """Return r_t = −kl_coef · kl_t, plus the score at the last response token: [batch, length], 0 where masked.

    Arguments:
        scores: [batch], the score of each whole answer.
        kl: [batch, length], nats at each token; k1, else the penalty is biased (see `engine.rl.kl`).
        response_mask: bool [batch, length]; a row without response tokens gets no reward.
        kl_coef: reward per nat.

    Its row sums are the shaped reward of each answer, which `rloo` and `grpo` take instead of scores when the
    divergence belongs into the reward. Source: Ziegler et al. 2019, eq. 2.

    Raises:
        ValueError: the shapes do not fit.
    """
    require_same_shape(kl=kl, response_mask=response_mask)
    if scores.shape != response_mask.shape[:1]:
        raise ValueError(f"scores {tuple(scores.shape)} do not fit response_mask {tuple(response_mask.shape)}")
    penalty = torch.where(response_mask, -kl_coef * at_least_float32(kl.detach()), 0)
    columns = torch.arange(response_mask.shape[-1], device=response_mask.device)
    is_last = response_mask & (columns == last_position(response_mask).unsqueeze(-1))
    return penalty + torch.where(is_last, scores.detach().to(penalty.dtype).unsqueeze(-1), 0)


def truncation_scores(
    scores: Tensor, truncated: Tensor, *, policy: Literal["replace", "subtract"], penalty: float
) -> Tensor:
    """Return the scores [batch] with those of truncated answers replaced by −penalty, or lowered by it.

    An answer that was cut at the longest length has no end-of-sequence token, and the reward model never saw one
    without; its score alone means little. `truncated` is bool [batch].

    Raises:
        InvalidInput: unknown policy.
        ValueError: the shapes differ.
    """
    require_same_shape(scores=scores, truncated=truncated)
    if policy not in ("replace", "subtract"):
        raise InvalidInput(f"unknown truncation policy {policy!r}", hint="One of replace, subtract.")
    kept = scores if policy == "subtract" else torch.zeros_like(scores)
    return torch.where(truncated, kept - penalty, scores)
