"""Axes whose ends and ticks stand on 1-2-5 numbers, so that a new point seldom moves the old ones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from engine.telemetry.numbers import duration, short
from engine.telemetry.smoothing import Floats

# Beyond this, sums and differences of two ends could overflow; such values are drawn at the border.
_LARGEST = 1e300
_SMALLEST = 1e-290
# Ends nearer to each other than this share of their size are one number, as far as a chart can show.
_FLAT = 1e-6
_END_STEPS = 12  # an axis ends on a multiple of the 1-2-5 number that is at least this part of its span
_LINEAR_DECADES = 3  # a symlog axis is linear below this many decades under its largest value
_RATHER_USUAL = 0.1  # of its length an axis is longer, rather than that its ticks are closer or further apart
_TIME_STEPS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 18_000, 43_200, 86_400)


class Scale(StrEnum):
    """How values become heights. `clip` is linear and leaves outliers at the border."""

    LINEAR = "lin"
    LOG = "log"
    SYMLOG = "symlog"
    CLIP = "clip"

    @property
    def following(self) -> Scale:
        """The next one in the circle."""
        scales = list(Scale)
        return scales[(scales.index(self) + 1) % len(scales)]


@dataclass(frozen=True, slots=True)
class Axis:
    """Maps values to 0..1. `ticks` are (value, label), ascending; `threshold` is where symlog turns linear."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Scale = Scale.LINEAR
    threshold: float = 1.0

    def fraction(self, values: Floats) -> Floats:
        """Return where the values stand: 0 at `low`, 1 at `high`; on a log axis -inf for values ≤ 0."""
        low, high = self._straight(np.array([self.low, self.high]))
        fraction: Floats = (self._straight(values) - low) / (high - low)
        return fraction

    def _straight(self, values: Floats) -> Floats:
        values = np.clip(values, -_LARGEST, _LARGEST)
        if self.scale is Scale.LOG:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.where(values > 0, np.log10(values), -np.inf)
        if self.scale is Scale.SYMLOG:
            bent: Floats = np.sign(values) * np.log10(1.0 + np.abs(values) / self.threshold)
            return bent
        return values


@lru_cache(maxsize=256)  # charts are drawn again and again, and their ends seldom move
def y_axis(low: float, high: float, scale: Scale, ticks: int) -> Axis:
    """Return an axis that holds low..high, with about `ticks` labels; a log axis of no positive value is linear."""
    low, high = _bounded(low), _bounded(high)
    if scale is Scale.LOG and low > 0:
        return _log_axis(max(low, _SMALLEST), max(high, _SMALLEST), ticks)
    if scale is Scale.SYMLOG and max(-low, high) > 0:
        return _symlog_axis(low, high, ticks)
    return _linear_axis(*_widened(low, high), ticks)


@lru_cache(maxsize=256)
def in_whole_rows(axis: Axis, rows: float, most: float = 1.3) -> Axis:
    """Return a linear axis that reaches so much further that its ticks are a whole number of rows apart.

    It goes on upwards, or downwards where it ends at 0, and has its ticks closer or further apart where it is shorter
    then. Any other axis stays as it is, and so does one that were more than `most` times as long.

    Args:
        axis: the axis.
        rows: from its one end to the other; their number less what the first and last values lack of a whole one.
        most: times its length.
    """
    if axis.scale is not Scale.LINEAR or len(axis.ticks) < 2:
        return axis
    span, best, least = axis.high - axis.low, (axis.low, axis.high, 0.0), most
    usual = nice((axis.ticks[1][0] - axis.ticks[0][0]) * (1 - 1e-9))
    for step in (usual, nice(usual * 1.5), nice(usual / 3)):
        each = math.floor(rows * step / span + 1e-9)  # rows between two ticks
        if each < (1 if step == usual else 2):
            continue
        wider = rows * step / each
        bottom, top = (axis.high - wider, axis.high) if axis.high == 0 else (axis.low, axis.low + wider)
        count = len(_numbers(bottom, top, step))
        if count >= min(3, len(axis.ticks)) and wider / span < least - (0.0 if step == usual else _RATHER_USUAL):
            best, least = (bottom, top, step), wider / span
    bottom, top, step = best
    return Axis(bottom, top, _ticks(bottom, top, step)) if step else axis


def x_axis(low: float, high: float, ticks: int, *, time: bool = False, whole: bool = False) -> Axis:
    """Return an axis of numbers or (`time`) seconds, which never begins below the multiple under `low`.

    whole: ticks are whole numbers, as those of steps and tokens are.
    """
    low, high = _bounded(low), _bounded(high)
    if high - low <= abs(high) * 1e-9:
        high = low + max(1.0, abs(low) * 1e-9)
    if whole:
        return _stepped(low, high, max(1.0, nice((high - low) / _END_STEPS)), max(1.0, nice((high - low) / ticks)))
    if not time:
        return _linear_axis(low, high, ticks)
    return _stepped(low, high, _nice_time((high - low) / _END_STEPS), _nice_time((high - low) / ticks), time=True)


def nice(value: float) -> float:
    """Return the least of 1, 2, 5, 10, 20, 50, … (any power of ten) that is at least `value` > 0."""
    exponent = math.floor(math.log10(value))
    for candidate in (exponent, exponent + 1):
        for digit in (1, 2, 5):
            # parsed, so that 2e-4 is the float that people write
            number = float(f"{digit}e{candidate}")
            if number >= value * (1 - 1e-12):
                return number
    return value


def _nice_time(seconds: float) -> float:
    return next((float(step) for step in _TIME_STEPS if step >= seconds), 86_400.0 * nice(seconds / 86_400))


def _nice_below(value: float) -> float:
    exponent = math.floor(math.log10(value))
    numbers = [float(f"{digit}e{power}") for power in (exponent - 1, exponent) for digit in (1, 2, 5)]
    return max(number for number in numbers if number <= value * (1 + 1e-12))


def _bounded(value: float) -> float:
    return min(max(float(value), -_LARGEST), _LARGEST)


def _widened(low: float, high: float) -> tuple[float, float]:
    """Give a flat line room above and below."""
    size = max(abs(low), abs(high))
    if high - low > max(size * _FLAT, _SMALLEST):
        return low, high
    if size < _SMALLEST:
        return (0.0, 1.0)
    margin = size * 0.1
    return low - margin, high + margin


def _linear_axis(low: float, high: float, ticks: int) -> Axis:
    end_step = nice((high - low) / max(_END_STEPS, ticks))
    bottom, top = _ends(low, high, end_step)  # what it spans counts for how far apart its ticks are
    step = nice((top - bottom) / max(1, ticks))
    axis = _stepped(low, high, end_step, step)
    if len(axis.ticks) < 2 <= ticks:  # one label alone tells no scale: the next finer of 1, 2, 5
        axis = _stepped(low, high, end_step, nice(step / 2.5))
    return axis


def _stepped(low: float, high: float, end_step: float, tick_step: float, *, time: bool = False) -> Axis:
    bottom, top = _ends(low, high, end_step)
    return Axis(bottom, top, _ticks(bottom, top, tick_step, time=time))


def _ends(low: float, high: float, step: float) -> tuple[float, float]:
    """Return the multiples of a step that hold low..high, at least one step apart."""
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return _multiple(first, step), _multiple(last, step)


def _ticks(bottom: float, top: float, step: float, *, time: bool = False) -> tuple[tuple[float, str], ...]:
    values = [_multiple(number, step) for number in _numbers(bottom, top, step)]
    digits = _digits_to_tell_apart(values)
    labels = [_time_label(value, step) if time else short(value, digits) for value in values]
    return tuple(zip(values, labels, strict=True))


def _numbers(bottom: float, top: float, step: float) -> range:
    """Return the multiples of a step that an axis holds."""
    return range(math.ceil(bottom / step - 1e-9), math.floor(top / step + 1e-9) + 1)


def _multiple(number: int, step: float) -> float:
    """Return number · step, rounded to the float that people would write."""
    return float(f"{number * step:.12g}")


def _digits_to_tell_apart(values: list[float]) -> int:
    for digits in range(2, 12):
        shown = [float(f"{value:.{digits - 1}e}") for value in values]
        if all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-300) for a, b in zip(shown, values, strict=True)):
            return digits
    return 12


def _time_label(seconds: float, step: float) -> str:
    if seconds == 0:
        return "0"
    if step >= 86_400:
        return f"{seconds / 86_400:g}d"
    if step >= 3600 or (seconds % 3600 == 0 and step >= 600):
        return f"{seconds / 3600:g}h"
    if step >= 60:
        return f"{seconds / 60:g}m" if seconds < 3600 else duration(seconds)
    return f"{seconds:g}s" if seconds < 60 else duration(seconds)


def _log_axis(low: float, high: float, ticks: int) -> Axis:
    bottom, top = _nice_below(low), nice(high)
    if bottom >= top:
        bottom, top = (bottom, nice(bottom * 1.5)) if bottom < _LARGEST / 2 else (_nice_below(bottom / 1.5), bottom)
    first, last = math.floor(math.log10(bottom) + 1e-9), math.ceil(math.log10(top) - 1e-9)
    decades = last - first
    few = decades <= max(1, ticks // 2)
    powers = range(first, last + 1, 1 if few else -(-decades // ticks))
    digits = (1, 2, 5) if few else (1,)
    values = [float(f"{digit}e{power}") for power in powers for digit in digits]
    inside = [value for value in values if bottom * (1 - 1e-12) <= value <= top * (1 + 1e-12)]
    return Axis(bottom, top, tuple((value, short(value)) for value in inside), Scale.LOG)


def _symlog_axis(low: float, high: float, ticks: int) -> Axis:
    size = nice(max(-low, high, _SMALLEST))
    top_decade = math.ceil(math.log10(size) - 1e-9)
    threshold = float(f"1e{max(-290, top_decade - _LINEAR_DECADES)}")
    bottom = 0.0 if low >= 0 else -nice(max(-low, threshold))
    top = 0.0 if high <= 0 else nice(max(high, threshold))
    stride = 1 if ticks >= 2 * (_LINEAR_DECADES + 1) or low >= 0 or high <= 0 else 2
    decades = [float(f"1e{power}") for power in range(top_decade, top_decade - _LINEAR_DECADES - 1, -stride)]
    values = sorted({0.0, bottom, top, *decades, *(-decade for decade in decades)})
    inside = [value for value in values if bottom <= value <= top]
    return Axis(bottom, top, tuple((value, short(value)) for value in inside), Scale.SYMLOG, threshold)
