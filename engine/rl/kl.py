"""Estimators of the divergence KL(π‖ref) from sampled tokens, and what each may be used for.

Source: J. Schulman, "Approximating KL Divergence" (2020). With tokens drawn from π, k1 and k3 have the divergence as
their expectation and k2 nearly so. Which gradient they give is another question:

- In the *reward* only k1 is right. The policy gradient of a reward that itself depends on the policy lacks the
  expectation of that reward's own gradient, which is zero for k1 (E[∇ log π] = 0) and not for k2 and k3.
- As a *loss*, differentiated where it was sampled, k1 has for the same reason a gradient of zero expectation and does
  nothing; k2 has that of KL(π‖ref); k3 has that of the opposite direction, KL(ref‖π).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from engine.errors import InvalidInput
from engine.rl.masking import masked_sum, require_same_shape

Estimator = Literal["k1", "k2", "k3"]


def k1(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """Return lp − ref, nats: unbiased, of either sign. The one for the reward; as a loss it does nothing."""
    return log_probs - ref_log_probs


def k2(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """Return ½(lp − ref)², nats: never negative, biased as a value. The one for a loss: its gradient is ∇KL(π‖ref)."""
    return 0.5 * (log_probs - ref_log_probs).square()


def k3(log_probs: Tensor, ref_log_probs: Tensor) -> Tensor:
    """Return exp(ref − lp) − 1 − (ref − lp), nats: never negative (but for rounding), unbiased, of low variance.

    The one to look at. Biased in the reward; as a loss it pulls toward the minimum of KL(ref‖π).
    """
    difference = ref_log_probs - log_probs
    return torch.expm1(difference) - difference


_ESTIMATORS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType({"k1": k1, "k2": k2, "k3": k3})


def kl_estimate(log_probs: Tensor, ref_log_probs: Tensor, estimator: Estimator) -> Tensor:
    """Return the estimate at each token of [batch, length], nats, with its gradient.

    `masking.masked_sum` makes nats/token of it when divided by the tokens, `masking.sequence_sums` nats/sequence.

    Raises:
        InvalidInput: there is no such estimator.
        ValueError: the shapes differ.
    """
    require_same_shape(log_probs=log_probs, ref_log_probs=ref_log_probs)
    if estimator not in _ESTIMATORS:
        raise InvalidInput(f"unknown KL estimator {estimator!r}", hint=f"One of {', '.join(_ESTIMATORS)}.")
    return _ESTIMATORS[estimator](log_probs, ref_log_probs)


def kl_loss(
    log_probs: Tensor, ref_log_probs: Tensor, response_mask: Tensor, estimator: Literal["k2", "k3"] = "k2"
) -> Tensor:
    """Return the divergence as a loss: Σ over response tokens, a scalar, nats; divide it by the global token count.

    `ref_log_probs` is a constant. Its gradient is right for tokens of the policy that is being differentiated; after
    further optimiser steps on the same tokens it is off by the probability ratio.

    Raises:
        InvalidInput: the estimator is k1, whose gradient is noise alone, or unknown.
        ValueError: the shapes differ.
    """
    if estimator not in ("k2", "k3"):
        raise InvalidInput(f"KL estimator {estimator!r} cannot be a loss", hint="Its gradient is not k2's; take k2.")
    require_same_shape(log_probs=log_probs, ref_log_probs=ref_log_probs, response_mask=response_mask)
    # Masked before the exponential, whose infinities would turn into NaN in the gradient.
    reference = torch.where(response_mask, ref_log_probs, log_probs).detach()
    return masked_sum(kl_estimate(log_probs, reference, estimator), response_mask)
