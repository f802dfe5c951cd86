"""Advantages of zero mean and unit variance over the global batch."""

from __future__ import annotations

import torch
from torch import Tensor

from engine.rl.masking import require_same_shape
from engine.rl.moments import Moments

_EPS = 1e-8


def whiten(values: Tensor, mask: Tensor, moments: Moments, *, shift_mean: bool = True) -> Tensor:
    """Return (x − mean) / sqrt(variance + 1e-8) where `mask` is true, 0 elsewhere.

    `values` and `mask` have one shape. `moments` are those of *all* response tokens of the optimiser step, merged over
    ranks and micro-batches: with each part's own, the result would depend on how the batch was split. Without
    `shift_mean` the mean is kept, as for rewards. The variance is that of the population, as in Ziegler et al. 2019.

    Raises:
        ValueError: the shapes differ.
    """
    require_same_shape(values=values, mask=mask)
    # Rounded once, at the end: the moments stay in float64.
    centred = values.detach().double() - moments.mean
    scaled = centred * (moments.variance + _EPS).rsqrt()
    if not shift_mean:
        scaled = scaled + moments.mean
    return torch.where(mask, scaled, 0).to(torch.promote_types(values.dtype, torch.float32))
