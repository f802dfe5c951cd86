"""The clipped surrogate objective of PPO."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.masking import masked_sum, require_same_shape


@dataclass(frozen=True, slots=True, eq=False)
class PolicyLoss:
    """Sums over the response tokens of a micro-batch, scalars; only `loss` has a gradient. Divide by global counts."""

    loss: Tensor
    tokens: Tensor  # response tokens
    clipped: Tensor  # tokens whose gradient a clip has cut off
    ratio: Tensor  # Σ ρ
    approx_kl: Tensor  # Σ k3 of KL(π_old‖π), nats


def policy_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    *,
    clip: float,
    dual_clip: float | None = None,
) -> PolicyLoss:
    """Return Σ −min(ρA, clamp(ρ, 1 − clip, 1 + clip)·A) with ρ = exp(log_probs − old_log_probs).

    Arguments:
        log_probs: [batch, length], of the policy that trains; the gradient flows here only.
        old_log_probs: [batch, length], of the policy that sampled, computed by the model that trains.
        advantages: [batch, length], whitened.
        response_mask: bool [batch, length].
        clip: ε; an advantage above 0 is clipped above 1 + ε, one below 0 is clipped below 1 − ε.
        dual_clip: c > 1; bounds the loss at −c·A for advantages below 0, where ρA alone has no bound. None: no bound.

    Source: Schulman et al. 2017, eq. 7; dual clip: Ye et al. 2020, eq. 5.

    Raises:
        InvalidInput: `clip` is negative, or `dual_clip` is not above 1.
        ValueError: the shapes differ.
    """
    if clip < 0:
        raise InvalidInput(f"clip {clip} of the policy loss is negative")
    if dual_clip is not None and dual_clip <= 1:
        raise InvalidInput(f"dual_clip {dual_clip} is not above 1", hint="Below 1 it would undo the policy's own step.")
    require_same_shape(
        log_probs=log_probs, old_log_probs=old_log_probs, advantages=advantages, response_mask=response_mask
    )
    advantages = advantages.detach()
    # Masked before the exponential, whose infinities would turn into NaN in the gradient.
    log_ratio = torch.where(response_mask, log_probs - old_log_probs.detach(), 0)
    ratio = log_ratio.exp()
    unclipped = -advantages * ratio
    clamped = -advantages * ratio.clamp(1.0 - clip, 1.0 + clip)
    loss = torch.maximum(unclipped, clamped)
    cut = clamped > unclipped
    if dual_clip is not None:
        bound = -dual_clip * advantages
        beyond = (advantages < 0) & (loss > bound)
        loss = torch.where(beyond, bound, loss)
        cut = cut | beyond
    settled = log_ratio.detach()
    return PolicyLoss(
        loss=masked_sum(loss, response_mask),
        tokens=response_mask.sum(),
        clipped=cut.sum(),
        ratio=masked_sum(ratio.detach(), response_mask),
        approx_kl=masked_sum(torch.expm1(settled) - settled, response_mask),
    )
