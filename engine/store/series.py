"""Series: the points of a metric over the steps, without those that a later attempt superseded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from engine.store import schema
from engine.store.lineage import Lineage, lineage, lineages, spans
from engine.store.standing import require
from engine.telemetry.metrics import HEADLINE

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.series.c


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """A series, and its last point. A value that is not a number is NaN."""

    name: str
    last_step: int
    last_value: float
    last_time: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Points:
    """The points of a series as four lists of equal length; steps ascend strictly."""

    attempt: list[int] = field(default_factory=list)
    step: list[int] = field(default_factory=list)
    time: list[float] = field(default_factory=list)  # seconds since the epoch
    value: list[float] = field(default_factory=list)  # may be NaN or infinite


def names(store: Store, identity: str) -> list[SeriesInfo]:
    """Return the series of an experiment that have points, in the order in which they began.

    Raises NotFound if there is no such experiment.
    """
    with store.read() as connection:
        require(connection, identity)
        found = select(_table.name, _table.last_step, _table.last_value, _table.last_time)
        found = found.where(_table.experiment_id == identity, _table.last_step.is_not(None)).order_by(_table.id)
        return [SeriesInfo(name, step, _number(value), time) for name, step, value, time in connection.execute(found)]


def last(store: Store, identity: str) -> dict[str, tuple[int, float]]:
    """Return (step, value) of the last point of each series. Raises NotFound if there is no such experiment."""
    return {info.name: (info.last_step, info.last_value) for info in names(store, identity)}


def read(store: Store, identity: str, name: str, *, after: tuple[int, int] | None = None) -> Points:
    """Return the points of a series; of a name that was never logged, none.

    after: (attempt, step) of the last point that the caller has; only what comes after it.

    Raises NotFound if there is no such experiment.
    """
    points = Points()
    with store.read() as connection:
        require(connection, identity)
        series_id = connection.execute(
            select(_table.id).where(_table.experiment_id == identity, _table.name == name)
        ).scalar()
        if series_id is None:
            return points
        for span in spans(connection, series_id, lineage(connection, identity), after):
            rows = connection.exec_driver_sql(
                "SELECT step, time, value FROM points"
                " WHERE series_id = ? AND attempt = ? AND step > ? AND step <= ? ORDER BY step",
                (series_id, span.attempt, span.after, span.last),
            ).all()
            points.attempt.extend([span.attempt] * len(rows))
            points.step.extend([step for step, _, _ in rows])
            points.time.extend([time for _, time, _ in rows])
            points.value.extend([_number(value) for _, _, value in rows])
    return points


def tails(store: Store, ids: Sequence[str], count: int) -> dict[str, list[float]]:
    """Return the last values, at most `count`, of the headline metric of each of these experiments, oldest first."""
    found = {identity: list[float]() for identity in ids}
    experiment = schema.experiments.c
    chosen = select(experiment.id, experiment.kind, _table.id.label("series_id"), _table.name).join(
        schema.series, _table.experiment_id == experiment.id
    )
    with store.read() as connection:
        kept = lineages(connection, ids)
        for row in connection.execute(chosen.where(_table.name.in_(set(HEADLINE.values())))):
            if row.id in found and row.name == HEADLINE.get(row.kind):
                found[row.id] = _tail(connection, row.series_id, kept[row.id], count)
    return found


def _tail(connection: Connection, series_id: int, kept: Lineage, count: int) -> list[float]:
    values: list[float] = []
    for span in reversed(list(spans(connection, series_id, kept))):
        rows = connection.exec_driver_sql(
            "SELECT value FROM points WHERE series_id = ? AND attempt = ? AND step > ? AND step <= ?"
            " ORDER BY step DESC LIMIT ?",
            (series_id, span.attempt, span.after, span.last, count - len(values)),
        )
        values.extend(_number(value) for value in rows.scalars())
        if len(values) >= count:
            break
    return values[::-1]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
