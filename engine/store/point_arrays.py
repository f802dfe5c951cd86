"""The points of all series of an experiment as arrays, for those who need many of them again and again."""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from engine.store.lineage import NEVER, Lineage, Span, lineage, spans
from engine.store.standing import require

if TYPE_CHECKING:
    from engine.store.database import Store

_ROW = np.dtype([("step", np.int64), ("time", np.float64), ("value", np.float64)])
# SQLite has no NaN; of the text, numpy makes one.
_VALUES = "step, time, ifnull(value, 'nan') FROM points WHERE series_id = ?"
_ROWS = f"SELECT {_VALUES} AND attempt = ? AND step > ? AND step <= ? ORDER BY step"
_LAST_ROWS = f"SELECT {_VALUES} AND attempt = ? AND step > ? AND step <= ? ORDER BY step DESC LIMIT ?"
_NEWER = f"SELECT attempt, {_VALUES} AND (attempt, step) > (?, ?) ORDER BY attempt, step"


@dataclass(frozen=True, slots=True, eq=False)
class PointArrays:
    """The points of a series as four arrays, each [n]; steps ascend strictly."""

    attempt: NDArray[np.int64]
    step: NDArray[np.int64]
    time: NDArray[np.float64]  # seconds since the epoch
    value: NDArray[np.float64]  # may be NaN or infinite

    @classmethod
    def joined(cls, parts: list[tuple[int, NDArray[Any]]]) -> Self:
        """Make one of (attempt, rows) in order."""
        rows = np.concatenate([rows for _, rows in parts]) if parts else np.empty(0, _ROW)
        attempts = np.repeat([attempt for attempt, _ in parts], [rows.size for _, rows in parts]).astype(np.int64)
        return cls(attempts, *(np.ascontiguousarray(rows[name]) for name in ("step", "time", "value")))


def fresh(
    store: Store, identity: str, known: Mapping[str, tuple[int, int]], names: Collection[str] | None = None
) -> Generator[tuple[str, PointArrays]]:
    """Yield the series that have points which the caller lacks, and these, all as they stood at one moment.

    Exhaust it, or close it: the database is open for reading until then.

    Args:
        store: where.
        identity: the experiment.
        known: (attempt, step) of the last point that the caller has, by series.
        names: null: all of them.

    Raises:
        NotFound: if there is no such experiment.
    """
    with _reading(store, identity) as (connection, kept, found):
        for series_id, name, last_step, _ in found:
            after = known.get(name)
            if (names is None or name in names) and (after is None or after[1] != last_step):
                points = _points(connection, series_id, kept, after)
                if points.step.size:
                    yield name, points


def newest(store: Store, identity: str, whole: Collection[str], count: int) -> Iterator[tuple[str, PointArrays]]:
    """Yield all series, those that are looked at closely whole, and of the others the newest points.

    Exhaust it, or close it: the database is open for reading until then.

    Args:
        store: where.
        identity: the experiment.
        whole: names. A series whose last value is no finite number is whole, too: where did that begin?
        count: of points of the others, at least 1.

    Raises:
        NotFound: if there is no such experiment.
    """
    with _reading(store, identity) as (connection, kept, found):
        for series_id, name, _, value in found:
            if name in whole or value is None or not math.isfinite(value):
                points = _points(connection, series_id, kept, None)
            else:
                points = _tail(connection, series_id, kept, count)
            if points.step.size:
                yield name, points


def between(store: Store, identity: str, ranges: Mapping[str, tuple[int, int]]) -> Iterator[tuple[str, PointArrays]]:
    """Yield the points of some series, from a step to another one, both included. Exhaust it, or close it.

    Args:
        store: where.
        identity: the experiment.
        ranges: first and last step, by series.

    Raises:
        NotFound: if there is no such experiment.
    """
    with _reading(store, identity) as (connection, kept, found):
        for series_id, name, _, _ in found:
            if name in ranges:
                first, last = ranges[name]
                cut = (
                    Span(span.attempt, max(span.after, first - 1), min(span.last, last))
                    for span in spans(connection, series_id, kept)
                )
                yield name, _of_spans(connection, series_id, cut)


@contextmanager
def _reading(store: Store, identity: str) -> Iterator[tuple[Connection, Lineage, Sequence[Any]]]:
    """Open the database; yield the attempts that count, and (id, name, last step, last value) of each series."""
    with store.read() as connection:
        require(connection, identity)
        found = connection.exec_driver_sql(
            "SELECT id, name, last_step, last_value FROM series"
            " WHERE experiment_id = ? AND last_step IS NOT NULL ORDER BY id",
            (identity,),
        ).all()
        yield connection, lineage(connection, identity), found


def _tail(connection: Connection, series_id: int, kept: Lineage, count: int) -> PointArrays:
    driver: Any = connection.connection.dbapi_connection
    parts: list[tuple[int, NDArray[Any]]] = []
    for span in reversed(list(spans(connection, series_id, kept))):
        rows = driver.execute(_LAST_ROWS, (series_id, span.attempt, span.after, span.last, count))
        parts.insert(0, (span.attempt, np.fromiter(rows, _ROW)[::-1]))
        count -= parts[0][1].size
        if count <= 0:
            break
    return PointArrays.joined(parts)


def _points(connection: Connection, series_id: int, kept: Lineage, after: tuple[int, int] | None) -> PointArrays:
    # The driver's own rows: four times as fast as those of SQLAlchemy, and there may be a hundred thousand.
    driver: Any = connection.connection.dbapi_connection
    if after is not None and kept.last_step(after[0]) == NEVER:
        # what a run that goes on has added: one statement, for there are forty series and ten looks a second
        newer = driver.execute(_NEWER, (series_id, *after)).fetchall()
        if not newer or newer[-1][0] == after[0]:
            return PointArrays.joined([(after[0], np.array([row[1:] for row in newer], _ROW))])
    return _of_spans(connection, series_id, spans(connection, series_id, kept, after))


def _of_spans(connection: Connection, series_id: int, chosen: Iterable[Span]) -> PointArrays:
    driver: Any = connection.connection.dbapi_connection
    parts = []
    for span in chosen:
        rows = driver.execute(_ROWS, (series_id, span.attempt, span.after, span.last))
        parts.append((span.attempt, np.fromiter(rows, _ROW)))
    return PointArrays.joined(parts)
