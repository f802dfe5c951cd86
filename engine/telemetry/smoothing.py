"""Exponential smoothing of one series over its own points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_BLOCK = 128
_DOUBLE_DIGITS = 37.0  # e^-37 is less than half a unit in the last place of 1.0


def smooth(values: Floats, weight: float) -> Floats:
    """Return the debiased exponential moving average of `values`, shape [n].

    y_t = Σ w^(t-i) x_i / Σ w^(t-i) over the finite x_i, i ≤ t: the average of Adam (Kingma & Ba 2015, §3)
    and of TensorBoard. Values that are not finite are passed over: they stay as they are and do not touch
    the average of the others. `weight` is in [0, 1); 0 returns the values.
    """
    if not 0.0 <= weight < 1.0:
        raise ValueError(f"smoothing weight {weight} is not in [0, 1)")
    if weight == 0.0 or not values.size:
        return values
    finite = np.isfinite(values)
    if finite.all():
        return _average(values, weight)
    smoothed = values.copy()
    smoothed[finite] = _average(values[finite], weight)
    return smoothed


def _average(values: Floats, weight: float) -> Floats:
    """Work on many blocks side by side, point by point, then carry one number from block to block."""
    count = values.size
    blocks = -(-count // _BLOCK)
    padded = np.zeros(blocks * _BLOCK)
    padded[:count] = values
    # [place in the block, block], so that each pass runs over memory that lies together
    partial = np.ascontiguousarray(padded.reshape(blocks, _BLOCK).T)
    partial *= 1.0 - weight
    for place in range(1, _BLOCK):
        partial[place] += weight * partial[place - 1]
    decay = weight**_BLOCK
    carry, carries = 0.0, []
    for last in partial[-1].tolist():
        carries.append(carry)
        carry = last + decay * carry
    partial += np.multiply.outer(weight ** np.arange(1.0, _BLOCK + 1.0), np.array(carries))
    average: Floats = partial.T.reshape(-1)[:count]
    biased = min(count, int(_DOUBLE_DIGITS / -math.log(weight)) + 1)
    average[:biased] /= 1.0 - weight ** np.arange(1.0, biased + 1.0)
    return average
