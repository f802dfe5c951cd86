"""An axis of moments: ticks at round times of the local day, and dates where a day begins."""

from __future__ import annotations

import time
from collections.abc import Iterator

from engine.telemetry.axis import Axis

_DAY = 86_400
_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_DAYS = (1, 2, 7, 14, 28, 56, 112, 364)
_END_STEPS = 12  # the axis ends on a multiple of the round time that is at least this part of its span


def clock_axis(low: float, high: float, ticks: int) -> Axis:
    """Return an axis that holds low..high with about `ticks` labels. low, high: seconds since the epoch, UTC.

    Labels are local: 21:04, with seconds where ticks are less than a minute apart, and at midnight the date.
    """
    if high - low < 1.0:
        high = low + 1.0
    step, end_step = _at_least((high - low) / max(1, ticks)), _at_least((high - low) / max(_END_STEPS, ticks))
    bottom = max((moment for moment in _moments(low - _reach(end_step), low, end_step)), default=low)
    top = next((moment for moment in _moments(high, high + _reach(end_step), end_step)), high)
    labels = tuple((moment, _label(moment, step)) for moment in _moments(bottom, top, step))
    return Axis(bottom, max(top, bottom + 1.0), labels)


def _at_least(seconds: float) -> int:
    for step in (*_STEPS, *(_DAY * days for days in _DAYS)):
        if step >= seconds:
            return step
    return _DAY * 364


def _reach(step: int) -> float:
    """Return how far away the next moment can be: a day may have 25 hours."""
    return step + 3700.0


def _moments(low: float, high: float, step: int) -> Iterator[float]:
    """Yield the round times of local days from low to high, ascending; they are counted from each midnight."""
    midnight = _midnight(low)
    while midnight <= high:
        following = _midnight(midnight + 1.5 * _DAY)
        if step >= _DAY:
            if _day_number(midnight) % (step // _DAY) == 0 and low <= midnight:
                yield midnight
        else:
            moment = midnight + max(0, -(-(low - midnight) // step)) * step
            while moment < following and moment <= high:
                yield moment
                moment += step
        midnight = following


def _midnight(seconds: float) -> float:
    """Return when the local day of a moment began."""
    year, month, day, *_ = time.localtime(seconds)
    return time.mktime((year, month, day, 0, 0, 0, 0, 0, -1))


def _day_number(midnight: float) -> int:
    """Return the number of a local day, counted from a Monday."""
    local = time.localtime(midnight + _DAY / 2)
    return int((midnight + _DAY / 2 + local.tm_gmtoff) // _DAY) + 3


def _label(moment: float, step: int) -> str:
    local = time.localtime(moment)
    if (local.tm_hour, local.tm_min, local.tm_sec) == (0, 0, 0):
        return f"{local.tm_mday} {time.strftime('%b', local)}"
    return time.strftime("%H:%M" if step >= 60 else "%H:%M:%S", local)
