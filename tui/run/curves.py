"""The points of one experiment as arrays, extended by what is new, and the x axes they can be seen over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.smoothing import Floats

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
    """One series: [n] points in the order of attempt and step."""

    attempt: Integers
    step: Integers
    time: Floats  # seconds since the epoch, UTC
    value: Floats

    @classmethod
    def of(cls, attempt: list[int], step: list[int], time: list[float], value: list[float]) -> Self:
        """Make one of equally long lists."""
        return cls(np.array(attempt, np.int64), np.array(step, np.int64), np.array(time, float), np.array(value, float))

    def __add__(self, later: Curve) -> Curve:
        """Return the points of both, `later` after these."""
        return Curve(
            np.concatenate([self.attempt, later.attempt]),
            np.concatenate([self.step, later.step]),
            np.concatenate([self.time, later.time]),
            np.concatenate([self.value, later.value]),
        )

    @property
    def last(self) -> tuple[int, int] | None:
        """(attempt, step) of the last point."""
        return (int(self.attempt[-1]), int(self.step[-1])) if self.step.size else None


@dataclass(frozen=True, slots=True)
class Curves:
    """All series of an experiment by name. samples_per_step: rows or episodes; null where that is not known."""

    series: Mapping[str, Curve]
    samples_per_step: int | None = None
    _places: dict[tuple[int, int, int, XMode], Floats] = field(default_factory=dict, repr=False, compare=False)

    def modes(self) -> list[XMode]:
        """Return the x axes that there are data for."""
        lacking = set() if "tokens" in self.series else {XMode.TOKENS}
        lacking |= set() if self.samples_per_step else {XMode.SAMPLES}
        return [mode for mode in XMode if mode not in lacking]

    def x(self, name: str, mode: XMode) -> Floats:
        """Return the place of each point of a series on the x axis, ascending. Shape [n]."""
        curve = self.series[name]
        # series that were measured together have these arrays in common, and so their places
        key = id(curve.attempt), id(curve.step), id(curve.time), mode
        known = self._places.get(key)
        if known is None:
            known = self._places[key] = self._x(curve, mode)
        return known

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

    def breaks(self, name: str, mode: XMode) -> NDArray[np.bool_] | None:
        """Return the points of a series to which no line leads from the one before: after the pause of a restart."""
        attempt = self.series[name].attempt
        if mode is not XMode.CLOCK or not attempt.size or attempt[0] == attempt[-1]:
            return None
        breaks: NDArray[np.bool_] = np.diff(attempt, prepend=attempt[:1]) != 0
        return breaks

    def seconds_per_step(self, recent: int = 50) -> float | None:
        """Return the median time of a step over the last points: one slow step does not move it much."""
        curve = self.series.get("seconds_per_step")
        if curve is not None and np.isfinite(curve.value[-recent:]).any():
            return float(np.nanmedian(curve.value[-recent:]))
        if not self.series:
            return None
        longest = max(self.series.values(), key=lambda curve: curve.step.size)
        steps, times = np.diff(longest.step[-recent:]), np.diff(longest.time[-recent:])
        same_attempt = (np.diff(longest.attempt[-recent:]) == 0) & (steps > 0)
        return float(np.median(times[same_attempt] / steps[same_attempt])) if same_attempt.any() else None

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
