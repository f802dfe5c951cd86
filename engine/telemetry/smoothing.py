"""Exponential smoothing of one series over its own points."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_NOTHING = 1e-17  # of a double's last place
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
    """Sum 1, 2, 4, … neighbours of each point, until those further back weigh nothing: each pass doubles the reach."""
    average: Floats = values * (1.0 - weight)
    reach, decay = 1, weight
    while reach < values.size and decay > _NOTHING:
        average[reach:] += decay * average[:-reach]
        reach, decay = 2 * reach, decay * decay
    biased = min(values.size, int(_DOUBLE_DIGITS / -math.log(weight)) + 1)
    average[:biased] /= 1.0 - weight ** np.arange(1.0, biased + 1.0)
    return average
