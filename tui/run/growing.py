"""Series that only grow, kept whole in memory: what is new is appended in place, and equal steps are kept once.

A run logs most of its metrics together, so that attempt, step and time of their points are the same numbers. Curves
that were handed out stay as they were: they are views on the beginning of what has grown since.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tui.run.curves import Curve

if TYPE_CHECKING:
    from engine.store.point_arrays import PointArrays

_SPARE = 1.0  # of what there is, as room to grow
_LARGE = 1 << 16  # bytes


def _room(size: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Return room for so many numbers. Where it is large, the system gives memory for what is written only.

    And it has it back as soon as the room is left; what the C library has, it would keep.
    """
    if size * kind.itemsize < _LARGE:
        return np.empty(size, kind)
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    return np.frombuffer(mmap.mmap(-1, size * kind.itemsize, flags=private), kind, count=size)


class _Column:
    """Numbers that are appended to."""

    def __init__(self, kind: type[np.int64] | type[np.float64], numbers: NDArray[Any]) -> None:
        self._room, self.size = np.empty(0, kind), 0
        self.extend(numbers)

    def extend(self, numbers: NDArray[Any]) -> None:
        size = self.size + numbers.size
        if size > self._room.size:
            room = _room(size + int(size * _SPARE), self._room.dtype)
            room[: self.size] = self._room[: self.size]
            self._room = room
        self._room[self.size : size] = numbers
        self.size = size

    def view(self, size: int) -> NDArray[Any]:
        return self._room[:size]


class _Stem:
    """Where and when the points of one or more series were measured: attempt, step, time."""

    def __init__(self, attempt: NDArray[Any], step: NDArray[Any], time: NDArray[Any]) -> None:
        self._columns = _Column(np.int64, attempt), _Column(np.int64, step), _Column(np.float64, time)

    @property
    def size(self) -> int:
        return self._columns[0].size

    def views(self, size: int) -> list[NDArray[Any]]:
        return [column.view(size) for column in self._columns]

    def takes(self, at: int, numbers: tuple[NDArray[Any], ...]) -> bool:
        """Go on from point `at` with these numbers, as far as that agrees with what it has; else change nothing."""
        there = min(self.size - at, numbers[0].size)
        for column, new in zip(self._columns, numbers, strict=True):
            if not np.array_equal(column.view(at + there)[at:], new[:there]):
                return False
        if numbers[0].size > there:
            for column, new in zip(self._columns, numbers, strict=True):
                column.extend(new[there:])
        return True


class Growing:
    """Series by name, extended by what is new."""

    def __init__(self) -> None:
        self._series: dict[str, tuple[_Stem, _Column]] = {}
        self.ends: dict[str, tuple[int, int]] = {}  # (attempt, step) of the last point of each

    def extend(self, name: str, points: PointArrays) -> None:
        """Add the points, at least one, that come after those of a series, or begin it with them."""
        numbers, values = (points.attempt, points.step, points.time), points.value
        if name in self._series:
            stem, column = self._series[name]
            at = column.size
            if not stem.takes(at, numbers):
                stem = _Stem(*stem.views(at))
                stem.takes(at, numbers)
            column.extend(values)
            self._series[name] = stem, column
        else:
            self._series[name] = self._stem(numbers), _Column(np.float64, values)
        self.ends[name] = int(points.attempt[-1]), int(points.step[-1])

    def curves(self) -> dict[str, Curve]:
        """Return all series as they are now. Those that were measured together have the same arrays."""
        views: dict[tuple[int, int], list[NDArray[Any]]] = {}
        curves = {}
        for name, (stem, column) in self._series.items():
            key = id(stem), column.size
            if key not in views:
                views[key] = stem.views(column.size)
            attempt, step, time = views[key]
            curves[name] = Curve(attempt, step, time, column.view(column.size), count=column.size)
        return curves

    def _stem(self, numbers: tuple[NDArray[Any], ...]) -> _Stem:
        """Return a stem of these numbers: one that is there, if it begins with them or they go on from all of it."""
        for stem in {id(stem): stem for stem, _ in self._series.values()}.values():
            if stem.size and numbers[0].size and stem.takes(0, numbers):
                return stem
        return _Stem(*numbers)
