"""A series of any length in some thousand of its points: as many as the widest screen can show, and some more.

What is kept of a long series: of each bucket of neighbours the least and the greatest value, so that no spike is lost;
points at equal distances, chosen by their place alone, for what must not prefer extremes; the values that are no finite
numbers; both ends of each attempt; and the newest points, all of them. The averages of `smoothing` go over every point,
and of each bucket the least and the greatest average is kept. A series with fewer points is kept whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.health_observed import RECENT
from engine.telemetry.smoothing import WEIGHTS, Floats, RunningAverages

Integers = NDArray[np.int64]

WHOLE = 2048  # points: of so many each is kept
_MOST_BUCKETS = 1024  # half as many at least: a screen is seldom wider
_FIRST_SIZE = 4  # points of a bucket, at first
_NEWEST = RECENT  # points at the end that no bucket takes
_PIECE = 8 * WHOLE  # points at most that are taken at a time
_AT_ONCE = 512  # points at least that go into buckets at a time
_BUCKETS_PER_MARK = 4  # from one of the points at equal distances to the next
_MOST_EXTRAS = 512  # ends of attempts, and values that are lost


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """Points of a series in their order: all of it, or what is kept. Every array is [n], but for `averages`.

    Those of `averages`, [weights, n], stand near the average at each point: of a bucket they are its extremes.
    """

    place: Integers  # among all points, from 0
    attempt: Integers
    step: Integers
    time: Floats  # seconds since the epoch
    value: Floats  # may be NaN or infinite
    averages: NDArray[np.float32]  # to draw them

    @classmethod
    def nothing(cls, room: int = 0) -> Self:
        """Return room for so many points."""
        places, attempts, steps = (np.empty(room, np.int64) for _ in range(3))
        return cls(places, attempts, steps, np.empty(room), np.empty(room), np.empty((len(WEIGHTS), room), np.float32))

    @property
    def size(self) -> int:
        """How many points these are."""
        return self.place.size

    def at(self, chosen: slice | Integers | NDArray[np.bool_]) -> Self:
        """Return some of the points."""
        return type(self)(*(part[..., chosen] for part in self._parts()))

    def put(self, at: int, points: Kept) -> None:
        """Write points over those from `at` on."""
        for mine, new in zip(self._parts(), points._parts(), strict=True):
            mine[..., at : at + points.size] = new

    @classmethod
    def joined(cls, *parts: Kept) -> Self:
        """Return all points of some, one after the other."""
        return cls(
            *(np.concatenate(arrays, axis=-1) for arrays in zip(*(part._parts() for part in parts), strict=True))
        )

    def _parts(self) -> list[NDArray[Any]]:
        return [getattr(self, each.name) for each in fields(self)]


class Thinned:
    """A series that grows, in bounded memory. What was handed out stays as it was."""

    def __init__(self, before: Floats | None = None) -> None:
        """before: values that came before its first point; they have a part in the averages only. [n]."""
        self.count = 0  # points it had in all
        self.bucket = 1  # points that stand for two
        self._averages = RunningAverages()
        if before is not None:
            self._averages.over(before)
        # what is kept, and behind it room for more; from `_head` on all points
        self._room, self._head, self._size = Kept.nothing(), 0, 0
        self._in_bucket = self._is_extra = np.empty(0, np.bool_)  # of the head
        self._attempt: int | None = None  # of the newest point in it

    @property
    def head(self) -> int:
        """How many of the kept points stand for more than themselves."""
        return self._head

    @property
    def distance(self) -> int:
        """From one of the points that were chosen by their place to the next, in points."""
        return 1 if self.bucket == 1 else _BUCKETS_PER_MARK * self.bucket

    def kept(self) -> Kept:
        """Return what is kept, in order."""
        return self._room.at(slice(self._size))

    def extend(self, attempt: Integers, step: Integers, time: Floats, value: Floats) -> None:
        """Add the points that come after those it has. Each array is [n]."""
        for first in range(0, step.size, _PIECE):
            part = slice(first, first + _PIECE)
            self._add(attempt[part], step[part], time[part], value[part])

    def _add(self, attempt: Integers, step: Integers, time: Floats, value: Floats) -> None:
        places = np.arange(self.count, self.count + step.size)
        self._take(Kept(places, attempt, step, time, value, self._averages.over(value).astype(np.float32)))
        self.count += step.size
        if self.bucket == 1:
            if self._size <= WHOLE:
                return
            self.bucket = _FIRST_SIZE
        while (free := self._size - self._head - _NEWEST) >= max(_AT_ONCE, 2 * self.bucket):
            full = _MOST_BUCKETS - int(self._in_bucket.sum()) // 2  # there is no room for more: then two become one
            self._fill(min(full, 2 * (free // (2 * self.bucket))))

    def _take(self, points: Kept) -> None:
        size = self._size + points.size
        if size > self._room.size:
            room = Kept.nothing(max(64, size + max(size // 8, min(size, 2 * _AT_ONCE))))
            room.put(0, self.kept())
            self._room = room
        self._room.put(self._size, points)
        self._size = size

    def _fill(self, number: int) -> None:
        """Put the oldest of the points that stand for themselves into so many buckets."""
        cut = self._head + number * self.bucket
        head, tail = self._room.at(slice(self._head)), self._room.at(slice(cut, self._size))
        points = self._room.at(slice(self._head, cut))
        buckets = Kept.joined(head.at(self._in_bucket), _extremes(points, self.bucket))
        if buckets.size == 2 * _MOST_BUCKETS:
            buckets = _extremes(buckets, 4)
            self.bucket *= 2
        marks = Kept.joined(head, points)
        marks = marks.at(marks.place % self.distance == 0)
        extras = Kept.joined(head.at(self._is_extra), points.at(self._extra(points)))
        while extras.size > _MOST_EXTRAS:
            extras = extras.at(slice(0, None, 2))
        head = Kept.joined(buckets, marks, extras)
        head = head.at(np.unique(head.place, return_index=True)[1])  # of equal ones that of a bucket comes first
        self._in_bucket = np.isin(head.place, buckets.place, assume_unique=True)
        self._is_extra = np.isin(head.place, extras.place, assume_unique=True)
        self._room, self._head, self._size = head, head.size, head.size
        self._take(tail)

    def _extra(self, points: Kept) -> NDArray[np.bool_]:
        """Tell which are lost values or ends of attempts."""
        extra = ~np.isfinite(points.value)
        changes = np.flatnonzero(np.diff(points.attempt))
        extra[changes] = extra[changes + 1] = True
        extra[0] |= self._attempt != points.attempt[0]
        self._attempt = int(points.attempt[-1])
        return extra


def warm_up(weight: float = WEIGHTS[-1], part: float = 1e-6) -> int:
    """Return after how many points an average that began late is right but for such a part."""
    return math.ceil(math.log(part) / math.log(weight))


def _extremes(points: Kept, size: int) -> Kept:
    """Return of each so many points the least and the greatest, in their order, and likewise of the averages."""
    buckets = points.size // size
    origin = np.arange(buckets)[:, None] * size
    chosen = (origin + _pair(points.value.reshape(buckets, size))).ravel()
    kept = points.at(chosen)
    averages = points.averages.reshape(-1, buckets, size)
    of_averages = np.take_along_axis(averages, _pair(averages), axis=-1).reshape(len(WEIGHTS), -1)
    return Kept(kept.place, kept.attempt, kept.step, kept.time, kept.value, of_averages)


def _pair(values: Floats | NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the places of the least and the greatest finite value, in order. [..., n] → [..., 2]."""
    finite = np.isfinite(values)
    least = np.where(finite, values, np.inf).argmin(axis=-1)
    greatest = np.where(finite, values, -np.inf).argmax(axis=-1)
    # where all are equal, one end stands for them, and the other one beside it
    greatest = np.where(least == greatest, np.where(least == 0, values.shape[-1] - 1, 0), greatest)
    return np.sort(np.stack([least, greatest], axis=-1), axis=-1)
