"""The series of a run as the charts need them: kept thin, extended by what is new, and a part of them seen closer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.telemetry.smoothing import Floats
from engine.telemetry.thinning import Kept, Thinned, warm_up
from tui.run.curves import Closer, Curve, Curves, XMode

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.point_arrays import PointArrays

_BESIDE = 0.25  # of the points of a window are read on each side of it, for the next move


@dataclass(frozen=True, slots=True)
class Look:
    """A part of the x axis that is looked at, and the series that are. low, high: x."""

    mode: XMode
    low: float
    high: float
    names: frozenset[str]

    @property
    def window(self) -> tuple[float, float]:
        """The least and the greatest x."""
        return self.low, self.high


class _Part:
    """The points of a part of a series. is_open: it goes on with the series."""

    def __init__(self, points: Thinned, *, is_open: bool) -> None:
        self.points, self.is_open = points, is_open


class Tracks:
    """Series by name. For one thread at a time; what was handed out stays as it was."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[int, int]] = {}  # (attempt, step) of the last point of each
        self._series: dict[str, Thinned] = {}
        self._parts: dict[str, _Part] = {}
        self._look: Look | None = None  # that the parts were read for
        self._sides = (0.0, 0.0)  # from where to where they go

    def extend(self, name: str, points: PointArrays) -> None:
        """Add the points, at least one, that come after those of a series, or begin it with them."""
        series = self._series.setdefault(name, Thinned())
        series.extend(points.attempt, points.step, points.time, points.value)
        if name in self._parts and self._parts[name].is_open:
            self._parts[name].points.extend(points.attempt, points.step, points.time, points.value)
        self.ends[name] = int(points.attempt[-1]), int(points.step[-1])

    def curves(self, samples_per_step: int | None = None) -> Curves:
        """Return all series as they are now."""
        closer = None
        if self._look is not None and self._parts:
            parts = {name: Curve.of_thinned(part.points) for name, part in self._parts.items()}
            closer = Closer(self._look.mode, *self._sides, self._look.high - self._look.low, parts)
        series = {name: Curve.of_thinned(series) for name, series in self._series.items()}
        return Curves(series, samples_per_step, closer)

    def look(self, store: Store, identity: str, curves: Curves, look: Look | None) -> bool:
        """Read the points of a part of the x axis where those that are kept are too few; tell whether that changed.

        curves: what `curves` returned last. look: null: everything is in sight.
        """
        if look is None:
            were_there = bool(self._parts)
            self._look, self._parts = None, {}
            return were_there
        if look == self._look or not any(
            curves.is_coarse(name, look.mode, look.window) for name in look.names & self._series.keys()
        ):
            return False
        ranges = {
            name: _Range.of(self._series[name].kept(), curves.x(name, look.mode), look.window)
            for name in look.names & self._series.keys()
        }
        self._look, self._parts = look, dict(_read(store, identity, ranges))
        self._sides = max(one.low for one in ranges.values()), min(one.high for one in ranges.values())
        return True


@dataclass(frozen=True, slots=True)
class _Range:
    """A part of a series: steps, and the x from which and to which it has all points."""

    warm_up: int  # step from which on values have a part in the averages
    first: int  # step
    last: int  # step
    low: float
    high: float

    @classmethod
    def of(cls, kept: Kept, x: Floats, window: tuple[float, float]) -> _Range:
        """Return the part of a window, and something on both sides of it for the next move. x: of what is kept."""
        inside = np.searchsorted(x, window[0], side="left"), np.searchsorted(x, window[1], side="right")
        beside = 1 + int(_BESIDE * (inside[1] - inside[0]))
        first, last = max(int(inside[0]) - beside, 0), min(int(inside[1]) + beside, kept.size - 1)
        before = int(np.searchsorted(kept.place, kept.place[first] - warm_up(), side="right")) - 1
        begin, start, end = (int(kept.step[at]) for at in (max(before, 0), first, last))
        low = float(x[first]) if first else -np.inf
        return cls(begin, start, end, low, float(x[last]) if last < kept.size - 1 else np.inf)


def _read(store: Store, identity: str, ranges: Mapping[str, _Range]) -> Iterator[tuple[str, _Part]]:
    from engine.store.point_arrays import between

    for name, points in between(store, identity, {name: (one.warm_up, one.last) for name, one in ranges.items()}):
        begin = int(np.searchsorted(points.step, ranges[name].first, side="left"))
        part = Thinned(points.value[:begin])
        part.extend(points.attempt[begin:], points.step[begin:], points.time[begin:], points.value[begin:])
        yield name, _Part(part, is_open=ranges[name].high == np.inf)
