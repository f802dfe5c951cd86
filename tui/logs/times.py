"""When the lines of a log were written: by the clock in them, by the step that they tell of, or by when they came."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CLOCK = re.compile(r"\W{0,2}(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d)?")
_STEP = re.compile(r"\b(?:step|question|chunk) (\d+)/\d+")


@dataclass(frozen=True, slots=True)
class Moment:
    """When a line was written. own: by its own words; else it is that of the line before, which was not later."""

    seconds: float  # since the epoch
    own: bool


class LogTimes:
    """The times of the lines of one file. A line goes by the offset of its first byte.

    Arguments:
        time_of_step: when a step was logged, in seconds since the epoch; null where that is not known.
    """

    def __init__(self, time_of_step: Callable[[int], float | None]) -> None:
        self._time_of_step = time_of_step
        self._known: dict[int, float] = {}
        self._silent: set[int] = set()  # lines that say nothing of the time

    def came(self, offsets: Sequence[int], now: float) -> None:
        """Lines came while one looked on. now: seconds since the epoch."""
        for offset in offsets:
            self._known.setdefault(offset, now)

    def moments(self, lines: Sequence[str], offsets: Sequence[int]) -> list[Moment | None]:
        """Return when each line was written; null for those before the first one that is known."""
        found: list[Moment | None] = []
        last: float | None = None
        for line, offset in zip(lines, offsets, strict=False):
            own = self._own(line, offset)
            last = own if own is not None else last
            found.append(None if last is None else Moment(last, own is not None))
        return found

    def _own(self, line: str, offset: int) -> float | None:
        known = self._known.get(offset)
        if known is None and offset not in self._silent:
            known, final = self._told(line)
            if known is not None:
                self._known[offset] = known
            elif final:
                self._silent.add(offset)
        return known

    def _told(self, line: str) -> tuple[float | None, bool]:
        """Return the time that a line tells, and whether asking again is in vain."""
        clock = _CLOCK.match(line)
        if clock is not None:
            day, hour, zone = clock.groups()
            try:
                return datetime.datetime.fromisoformat(f"{day}T{hour}{zone or ''}").timestamp(), True
            except (ValueError, OverflowError, OSError):
                return None, True
        step = _STEP.search(line)
        return (self._time_of_step(int(step.group(1))), False) if step is not None else (None, True)
