"""How far a figure can be trusted: bootstrap intervals, the exact test of McNemar, Wilson's interval.

What is resampled are questions: they stand for others that could have been asked. Draws are NumPy's PCG64, the same on
every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESAMPLES = 2000
# Questions drawn at a time, so that a bootstrap of any size stays in 64 MB.
_DRAWS = 2_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Ratio:
    """A figure over questions: Σ numerators / Σ denominators.

    The denominators of a mean are 1; those of a rate under a condition 1 where it holds, and 0 elsewhere.
    """

    numerators: Floats  # [questions]
    denominators: Floats  # [questions]

    def __post_init__(self) -> None:
        if self.numerators.ndim != 1 or self.numerators.shape != self.denominators.shape:
            raise ValueError(f"shapes {self.numerators.shape} and {self.denominators.shape}, not one value a question")

    @classmethod
    def of(cls, numerators: ArrayLike, denominators: ArrayLike) -> Self:
        """Return the ratio of two lists of numbers or truth values, one a question each."""
        return cls(np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64))

    @property
    def value(self) -> float | None:
        """The figure; None where its denominator is 0."""
        divisor = float(self.denominators.sum())
        return float(self.numerators.sum()) / divisor if divisor else None


def mean_of(values: ArrayLike) -> Ratio:
    """Return the mean of one value a question, as a ratio."""
    numerators = np.asarray(values, dtype=np.float64)
    return Ratio(numerators, np.ones_like(numerators))


def bootstrap(
    figures: Mapping[str, Ratio], *, level: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval | None]:
    """Return each figure with its percentile bootstrap interval (Efron 1979); None where it is undefined.

    All figures are of the same questions, and see the same resamples. Resamples in which a figure is undefined are left
    out of its interval.
    """
    drawn = _resampled(list(figures.values()), resamples, seed)
    values = [figure.value for figure in figures.values()]
    return {name: _interval(value, found, level) for name, value, found in zip(figures, values, drawn, strict=True)}


def paired_bootstrap(
    before: Mapping[str, Ratio],
    after: Mapping[str, Ratio],
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """Return by how much each figure grew from one system to another that was asked the same questions, in one order.

    Both see the same resamples, so what makes questions hard for both cancels out. A difference whose interval holds
    no 0 is significant at 1 − `level`. None where a figure is undefined.
    """
    names = [name for name in before if name in after]
    drawn = _resampled([*(before[name] for name in names), *(after[name] for name in names)], resamples, seed)
    differences = drawn[len(names) :] - drawn[: len(names)]
    return {
        name: _interval(_difference(before[name].value, after[name].value), found, level)
        for name, found in zip(names, differences, strict=True)
    }


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _resampled(figures: Sequence[Ratio], resamples: int, seed: int) -> Floats:
    """Return the figures in each resample, [figures, resamples]; not-a-number where they are undefined."""
    sizes = {figure.numerators.size for figure in figures}
    if len(sizes) > 1:
        raise ValueError(f"figures of different questions: {sorted(sizes)}")
    found = np.full((len(figures), resamples), np.nan)
    if not figures or sizes == {0}:
        return found
    for rows, drawn in _draws(sizes.pop(), resamples, seed):
        for figure, into in zip(figures, found, strict=True):
            numerators = figure.numerators[drawn].sum(axis=1)
            denominators = figure.denominators[drawn].sum(axis=1)
            np.divide(numerators, denominators, out=into[rows], where=denominators != 0)
    return found


def _draws(questions: int, resamples: int, seed: int) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    generator = np.random.Generator(np.random.PCG64(seed))
    at_once = max(1, _DRAWS // questions)
    for start in range(0, resamples, at_once):
        rows = slice(start, min(start + at_once, resamples))
        yield rows, generator.integers(questions, size=(rows.stop - rows.start, questions))


def _interval(value: float | None, drawn: Floats, level: float) -> Interval | None:
    defined = drawn[~np.isnan(drawn)]
    if value is None or not defined.size:
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value, two-sided, that two systems are equally often right (McNemar 1947, the exact binomial test).

    Arguments:
        only_first, only_second: questions that only the first, or only the second, has right. The others tell nothing.
    """
    trials, fewer = only_first + only_second, min(only_first, only_second)
    ways = term = 1
    for k in range(1, fewer + 1):
        term = term * (trials - k + 1) // k
        ways += term
    return min(1.0, 2 * ways / 2**trials)


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval | None:
    """Return a rate and its score interval (Wilson 1927), which holds for few trials and at 0 and 1; None for none."""
    if not trials:
        return None
    rate, z = successes / trials, NormalDist().inv_cdf((1 + level) / 2)
    scale = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # Rounding must not leave the rate outside.
    return Interval(rate, max(0.0, min(centre - half, rate)), min(1.0, max(centre + half, rate)))
