"""The points of one experiment as arrays, extended by what is new, and the x axes they can be seen over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.smoothing import WEIGHTS, Floats, smooth
from engine.telemetry.thinning import Kept, Thinned

_FINE = 600  # points: with so many in sight no screen would show more
_AS_CLOSE = 0.9  # of what was read is not looked at any closer

Integers = NDArray[np.int64]


class XMode(StrEnum):
    """What the x axis counts. Elapsed time leaves out the pauses between attempts; local time has them as gaps."""

    STEP = "step"
    TOKENS = "tokens"
    SAMPLES = "samples"
    ELAPSED = "elapsed"
    CLOCK = "local time"


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One series: [n] points in the order of attempt and step; of a long one, those that are kept of it."""

    attempt: Integers
    step: Integers
    time: Floats  # seconds since the epoch, UTC
    value: Floats
    count: int  # points that it has in all
    head: int = 0  # of the points here that stand for more than themselves; they come first
    averages: NDArray[np.float32] | None = None  # [weights, n], of `smoothing.WEIGHTS`; null: those of the points here
    fair: NDArray[np.bool_] | None = None  # [n], those that were not chosen by their value; null: all
    _smoothed: dict[float, Floats] = field(default_factory=dict, repr=False)  # by weight

    @classmethod
    def of(cls, attempt: list[int], step: list[int], time: list[float], value: list[float]) -> Self:
        """Make one of equally long lists."""
        arrays = np.array(attempt, np.int64), np.array(step, np.int64), np.array(time, float), np.array(value, float)
        return cls(*arrays, count=len(step))

    @classmethod
    def of_thinned(cls, series: Thinned) -> Self:
        """Return what is kept of a series."""
        kept: Kept = series.kept()
        fair = kept.place % series.distance == 0 if series.head else None
        return cls(
            kept.attempt, kept.step, kept.time, kept.value, series.count, series.head, averages=kept.averages, fair=fair
        )

    def smoothed(self, weight: float) -> Floats:
        """Return the average at each point, near it where points are left out. weight: 0 or one of `WEIGHTS`. [n]."""
        if not weight:
            return self.value
        if weight not in self._smoothed:
            if self.averages is None:
                self._smoothed[weight] = smooth(self.value, weight)
            else:
                self._smoothed[weight] = self.averages[WEIGHTS.index(weight)].astype(np.float64)
        return self._smoothed[weight]

    def time_of(self, step: int) -> float | None:
        """Return when a step was measured, in seconds since the epoch; of one that was left out, about when."""
        at = int(self.step.searchsorted(step))
        if at < self.step.size and self.step[at] == step:
            return float(self.time[at])
        if not 0 < at < self.head or self.attempt[at - 1] != self.attempt[at]:
            return None
        return float(np.interp(step, self.step[at - 1 : at + 1], self.time[at - 1 : at + 1]))


NO_POINTS = Curve.of([], [], [], [])


@dataclass(frozen=True, slots=True)
class Closer:
    """Points of a part of the x axis, closer together than those that are kept of all."""

    mode: XMode
    low: float  # from this x
    high: float  # to this one
    span: float  # of x that it was read for, with something beside it
    series: Mapping[str, Curve]

    def has(self, name: str, mode: XMode, window: tuple[float, float]) -> bool:
        """Tell whether all of a window lies in it."""
        return name in self.series and mode is self.mode and self.low <= window[0] and window[1] <= self.high


@dataclass(frozen=True, slots=True)
class Curves:
    """All series of an experiment by name. samples_per_step: rows or episodes; null where that is not known."""

    series: Mapping[str, Curve]
    samples_per_step: int | None = None
    closer: Closer | None = None
    _places: dict[tuple[int, int, int, XMode], Floats] = field(default_factory=dict, repr=False, compare=False)

    def modes(self) -> list[XMode]:
        """Return the x axes that there are data for."""
        lacking = set() if "tokens" in self.series else {XMode.TOKENS}
        lacking |= set() if self.samples_per_step else {XMode.SAMPLES}
        return [mode for mode in XMode if mode not in lacking]

    def x(self, name: str, mode: XMode) -> Floats:
        """Return the place of each point of a series on the x axis, ascending. Shape [n]."""
        return self._x_of(self.series[name], mode)

    def seen(self, name: str, mode: XMode, window: tuple[float, float] | None) -> tuple[Floats, Curve]:
        """Return x and points of a series for a part of the x axis: those that are closer together, if they are there.

        window: the least and the greatest x in sight; null: all of it.
        """
        curve = self.series[name]
        if self.closer is not None and window is not None and self.closer.has(name, mode, window):
            curve = self.closer.series[name]
        return self._x_of(curve, mode), curve

    def is_coarse(self, name: str, mode: XMode, window: tuple[float, float]) -> bool:
        """Tell whether a screen could show more points of a part of the x axis than are here."""
        closer = self.closer
        if closer is not None and closer.has(name, mode, window) and window[1] - window[0] > _AS_CLOSE * closer.span:
            return False
        x, curve = self.seen(name, mode, window)
        first, last = np.searchsorted(x, window[0], side="left"), np.searchsorted(x, window[1], side="right")
        return bool(first < curve.head and last - first < _FINE)

    def x_of_steps(self, steps: Sequence[float], mode: XMode) -> list[float]:
        """Return where steps stand on the x axis; none where nothing was measured."""
        if mode is XMode.STEP:
            return list(steps)
        if mode is XMode.SAMPLES and self.samples_per_step:
            return [step * self.samples_per_step for step in steps]
        longest = max(self.series, key=lambda name: self.series[name].step.size, default=None)
        if longest is None or not self.series[longest].step.size:
            return []
        places: list[float] = np.interp(steps, self.series[longest].step, self.x(longest, mode)).tolist()
        return places

    def x_of_restart(self, step: int, mode: XMode) -> float | None:
        """Return where an attempt that resumed at a step went on: on the axis of local time that is after the pause."""
        longest = max(self.series, key=lambda name: self.series[name].step.size, default=None)
        if mode is not XMode.CLOCK or longest is None:
            return next(iter(self.x_of_steps([step], mode)), None)
        after = int(np.searchsorted(self.series[longest].step, step, side="right"))
        x = self.x(longest, mode)
        return float(x[after]) if after < x.size else None

    def breaks(self, curve: Curve, mode: XMode) -> NDArray[np.bool_] | None:
        """Return the points to which no line leads from the one before: after the pause of a restart."""
        attempt = curve.attempt
        if mode is not XMode.CLOCK or not attempt.size or attempt[0] == attempt[-1]:
            return None
        breaks: NDArray[np.bool_] = np.diff(attempt, prepend=attempt[:1]) != 0
        return breaks

    def _x_of(self, curve: Curve, mode: XMode) -> Floats:
        # series that were measured together have these arrays in common, and so their places
        key = id(curve.attempt), id(curve.step), id(curve.time), mode
        known = self._places.get(key)
        if known is None:
            known = self._places[key] = self._x(curve, mode)
        return known

    def _x(self, curve: Curve, mode: XMode) -> Floats:
        if mode is XMode.TOKENS:
            return self._tokens(curve.step)
        if mode is XMode.ELAPSED:
            return self._elapsed(curve.attempt, curve.time)
        if mode is XMode.CLOCK:
            return _ascending(curve.time)
        if mode is XMode.SAMPLES and self.samples_per_step:
            return _ascending((curve.step * self.samples_per_step).astype(np.float64))
        return _ascending(curve.step.astype(np.float64))

    def _tokens(self, step: Integers) -> Floats:
        tokens = self.series["tokens"]
        known = np.isfinite(tokens.value)
        if not known.any() or not step.size:
            return np.zeros(step.size)
        return _ascending(np.interp(step, tokens.step[known], tokens.value[known]))

    def _elapsed(self, attempt: Integers, time: Floats) -> Floats:
        if not time.size:
            return np.empty(0)
        begins: dict[int, float] = {}
        ends: dict[int, float] = {}
        for curve in self.series.values():
            firsts = np.flatnonzero(np.diff(curve.attempt, prepend=-1))
            lasts = [*(firsts[1:] - 1).tolist(), curve.attempt.size - 1]
            for first, last in zip(firsts.tolist(), lasts, strict=True):
                number = int(curve.attempt[first])
                begins[number] = min(begins.get(number, np.inf), float(curve.time[first]))
                ends[number] = max(ends.get(number, -np.inf), float(curve.time[last]))
        origins, before = {}, 0.0
        for number in sorted(begins):
            origins[number] = begins[number] - before
            before += ends[number] - begins[number]
        elapsed = np.empty(time.size)
        for number in np.unique(attempt).tolist():
            elapsed[attempt == number] = time[attempt == number] - origins[number]
        return _ascending(elapsed)


def _ascending(x: Floats) -> Floats:
    """Return x, where it falls held at the greatest value so far. Shape [n]."""
    return np.maximum.accumulate(x) if (x[1:] < x[:-1]).any() else x
