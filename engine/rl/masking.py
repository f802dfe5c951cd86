"""Sums over the tokens that count, deaf to what stands in the others."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """Return the sum of `values` where `mask` is true: a scalar; both tensors of one shape.

    What is masked gets a gradient of zero even where it is NaN; a product with the mask would keep the NaN.
    """
    require_same_shape(values=values, mask=mask)
    return torch.where(mask, values, 0).sum()


def sequence_sums(values: Tensor, mask: Tensor) -> Tensor:
    """Return the sum of each row of [batch, length] where `mask` is true: [batch]. Nats/token become nats/sequence."""
    require_same_shape(values=values, mask=mask)
    return torch.where(mask, values, 0).sum(dim=-1)


def last_position(mask: Tensor) -> Tensor:
    """Return the last true column of each row of [batch, length]: int64 [batch], 0 for a row without one.

    Pads may stand on either side, and within: a reward model reads its score here.
    """
    columns = torch.arange(mask.shape[-1], device=mask.device)
    return torch.where(mask, columns, 0).amax(dim=-1)


def at_least_float32(values: Tensor) -> Tensor:
    """Return bfloat16 and float16 as float32, float32 and float64 as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def require_same_shape(**tensors: Tensor) -> None:
    """Refuse tensors that would be broadcast: [batch] against [batch, length] is a fault that no result shows.

    Raises:
        ValueError: two of them differ in shape.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError("different shapes: " + ", ".join(f"{name} {shape}" for name, shape in shapes.items()))
