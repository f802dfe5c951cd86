"""Exponential smoothing of one series over its own points, at once or as they come."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WEIGHTS = (0.3, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)  # that curves can be smoothed with

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


class RunningAverages:
    """`smooth` of a series that grows, with several weights at once: each point costs the same, however many there are.

    weights: ascending, each in (0, 1).
    """

    def __init__(self, weights: Sequence[float] = WEIGHTS) -> None:
        self._weights = np.array(weights)
        self._biased = np.zeros(len(weights))  # at the newest finite value
        self._count = 0  # of finite values

    def over(self, values: Floats) -> Floats:
        """Return the averages at the next values. values: [n]; returns [weights, n]."""
        averages = np.repeat(values[None, :], self._weights.size, axis=0)
        finite = np.isfinite(values)
        if not finite.any():
            return averages
        if finite.all():
            return self._next(averages)
        averages[:, finite] = self._next(averages[:, finite])
        return averages

    def _next(self, averages: Floats) -> Floats:
        """Turn finite values into averages, in place, as `_average` does; what came before is a part of the first."""
        averages *= 1.0 - self._weights[:, None]
        averages[:, 0] += self._weights * self._biased
        size = averages.shape[1]
        reach, decay, first = 1, self._weights, 0
        while reach < size and decay[-1] > _NOTHING:
            first = int(np.searchsorted(decay, _NOTHING))  # the lighter weights are done
            averages[first:, reach:] += decay[first:, None] * averages[first:, :-reach]
            reach, decay = 2 * reach, decay * decay
        self._biased = averages[:, -1].copy()
        settled = int(_DOUBLE_DIGITS / -math.log(self._weights[-1])) + 1
        biased = min(size, settled - self._count)
        if biased > 0:
            counts = np.arange(self._count + 1.0, self._count + biased + 1.0)
            averages[:, :biased] /= 1.0 - self._weights[:, None] ** counts
        self._count += size
        return averages
