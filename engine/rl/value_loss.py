"""The clipped value loss of PPO, and how much of the returns the value explains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.masking import at_least_float32, masked_sum, require_same_shape
from engine.rl.moments import Moments


@dataclass(frozen=True, slots=True, eq=False)
class ValueLoss:
    """Sums over the response tokens of a micro-batch, scalars; only `loss` has a gradient. Divide by global counts."""

    loss: Tensor
    tokens: Tensor  # response tokens
    clipped: Tensor  # tokens whose clipped error is the larger one


def value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, response_mask: Tensor, *, clip: float | None
) -> ValueLoss:
    """Return Σ ½·max((V − R)², (clamp(V, V_old ± clip) − R)²).

    All are [batch, length]; the gradient flows into `values` only. `old_values` are those that the advantages were
    computed with. `clip` is in units of the reward; None: ½(V − R)² alone. Source: the PPO of OpenAI's baselines;
    Huang et al. 2024, "The N+ Implementation Details of RLHF with PPO".

    Raises:
        InvalidInput: `clip` is negative.
        ValueError: the shapes differ.
    """
    if clip is not None and clip < 0:
        raise InvalidInput(f"clip {clip} of the value loss is negative")
    require_same_shape(values=values, old_values=old_values, returns=returns, response_mask=response_mask)
    values = torch.where(response_mask, at_least_float32(values), 0)
    old_values = torch.where(response_mask, at_least_float32(old_values), 0).detach()
    returns = at_least_float32(returns).detach()
    loss = (values - returns).square()
    cut = torch.zeros_like(response_mask)
    if clip is not None:
        clamped = (torch.clamp(values, old_values - clip, old_values + clip) - returns).square()
        cut = clamped > loss
        loss = torch.maximum(loss, clamped)
    return ValueLoss(loss=0.5 * masked_sum(loss, response_mask), tokens=response_mask.sum(), clipped=cut.sum())


def explained_variance(returns: Moments, errors: Moments) -> Tensor:
    """Return 1 − Var(R − V) / Var(R): a float64 scalar, 1 for a perfect critic, below 0 for a harmful one.

    `errors` are the moments of R − V, both over the response tokens of the global batch. Not finite if all returns
    are equal.
    """
    return 1.0 - errors.variance / returns.variance
