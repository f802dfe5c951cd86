"""From a piece of a fact file into the tables: its rows and the offset behind it, in one transaction.

So nothing is read twice and nothing is left out, whenever a process is killed. A fact that is in already, because a
file was begun anew and copied again, is the same fact and comes in once.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.store import schema
from engine.store.lineage import Lineage, lineage, spans
from engine.store.standing import require
from engine.store.text import storable, storable_document
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord, MetricsRecord, SampleRecord, StartRecord

if TYPE_CHECKING:
    from engine.store.database import Store

_series = schema.series.c
_LONGEST_NAME = 200  # characters of a metric's name that count


@dataclass(frozen=True, slots=True)
class Artifact:
    """Something that an experiment made."""

    kind: str  # model, checkpoint, index, dataset
    path: str  # on the nodes
    sha256: str | None
    step: int | None
    created_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a fact file of an experiment."""

    experiment_id: str
    file: str  # its name
    chunk: Chunk
    before_offset: int  # where the cursor stood when it was read


def cursor(store: Store, identity: str, file: str) -> int:
    """Return how many bytes of a fact file are in. Raises NotFound if there is no such experiment."""
    with store.read() as connection:
        require(connection, identity)
        return _cursor(connection, identity, file)


def ingest(store: Store, identity: str, file: str, chunk: Chunk, before_offset: int) -> bool:
    """Bring the records of one piece in, see `ingest_all`. Raises NotFound if there is no such experiment."""
    with store.write(durable=False) as connection:
        require(connection, identity)
        return _bring_in(connection, Piece(identity, file, chunk, before_offset))


def ingest_all(store: Store, pieces: Sequence[Piece]) -> list[bool]:
    """Bring the records of pieces in, and move the cursors behind them, all in one transaction.

    Returns:
        Whether each was brought in. If the cursor of one stands elsewhere by now, somebody else was faster, or its
        experiment was deleted: nothing is changed by it, and the file is to be read again from `cursor`.
    """
    with store.write(durable=False) as connection:
        return [_bring_in(connection, piece) for piece in pieces]


def _bring_in(connection: Connection, piece: Piece) -> bool:
    # Plain SQL where every step of every run passes: building statements took most of the time.
    identity, chunk = piece.experiment_id, piece.chunk
    if connection.exec_driver_sql("SELECT 1 FROM experiments WHERE id = ?", (identity,)).first() is None:
        return False
    if _cursor(connection, identity, piece.file) != piece.before_offset:
        return False
    records = chunk.records
    starts = [record for record in records if isinstance(record, StartRecord)]
    for start in starts:
        _begin(connection, identity, start)
    kept = lineage(connection, identity)
    unsure = _add_points(connection, identity, kept, [r for r in records if isinstance(r, MetricsRecord)])
    if starts:
        unsure = set(connection.execute(select(_series.id).where(_series.experiment_id == identity)).scalars())
    _write_last(connection, [(*_last_point(connection, key, kept), key) for key in unsure])
    _add_events(connection, identity, [r for r in records if isinstance(r, EventRecord)])
    _add_samples(connection, identity, [r for r in records if isinstance(r, SampleRecord)])
    if records:
        connection.exec_driver_sql(
            "UPDATE experiments SET heard_at = max(coalesce(heard_at, ?1), ?1), step = max(?2, coalesce("
            "(SELECT max(last_step) FROM series WHERE experiment_id = ?3), 0)) WHERE id = ?3",
            (time.time(), kept.resumed_step, identity),
        )
    connection.exec_driver_sql(
        'INSERT INTO cursors (experiment_id, file, "offset") VALUES (?, ?, ?)'
        ' ON CONFLICT (experiment_id, file) DO UPDATE SET "offset" = excluded."offset"',
        (identity, piece.file, chunk.offset),
    )
    return True


def artifacts(store: Store, identity: str) -> list[Artifact]:
    """Return what an experiment made, oldest first. Raises NotFound if there is no such experiment."""
    columns = schema.artifacts.c
    found = select(columns.kind, columns.path, columns.sha256, columns.step, columns.created_at)
    with store.read() as connection:
        require(connection, identity)
        found = found.where(columns.experiment_id == identity).order_by(columns.id)
        return [Artifact(*row) for row in connection.execute(found)]


def _cursor(connection: Connection, identity: str, file: str) -> int:
    found = 'SELECT "offset" FROM cursors WHERE experiment_id = ? AND file = ?'
    return int(connection.exec_driver_sql(found, (identity, file)).scalar() or 0)


def _begin(connection: Connection, identity: str, start: StartRecord) -> None:
    attempt, experiment = schema.attempts, schema.experiments
    connection.execute(
        update(attempt)
        .where(attempt.c.experiment_id == identity, attempt.c.number == start.attempt)
        .values(resumed_step=start.resumed_step, started_at=start.time)
    )
    newest = select(func.max(attempt.c.number)).where(attempt.c.experiment_id == identity).scalar_subquery()
    connection.execute(
        update(experiment)
        .where(experiment.c.id == identity, start.attempt >= func.coalesce(newest, 0))
        .values(total_steps=start.total_steps, started_at=func.coalesce(experiment.c.started_at, start.time))
    )


Point = tuple[int, int, float, float | None]  # attempt, step, time, value
Last = tuple[int | None, float | None, float | None, int]  # step, time, value, id of the series


def _add_points(connection: Connection, identity: str, kept: Lineage, records: Sequence[MetricsRecord]) -> set[int]:
    """Add points and move the last point of their series on. Returns the series whose last point is not clear."""
    by_name: dict[str, list[Point]] = {}
    for record in records:
        attempt, step, at = record.attempt, record.step, record.time
        for name, value in record.metrics.items():
            # SQLite has no NaN.
            point = (attempt, step, at, None if math.isnan(value) else value)
            by_name.setdefault(storable(name)[:_LONGEST_NAME], []).append(point)
    if not by_name:
        return set()
    known = _series_of(connection, identity, by_name)
    # One series after the other, as they lie in the table.
    rows = [(known[name][0], *point) for name, points in by_name.items() for point in points]
    connection.exec_driver_sql("INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?)", rows)
    ends = {attempt: kept.last_step(attempt) for attempt in {record.attempt for record in records}}
    moved: list[Last] = []
    unsure: set[int] = set()
    for name, points in by_name.items():
        key, last_step = known[name]
        counted = [point for point in points if point[1] <= ends[point[0]]]
        newest = max((step for _, step, _, _ in counted), default=-1)
        if newest < last_step:
            continue
        candidates = [point for point in counted if point[1] == newest]
        if newest > last_step and len(candidates) == 1:
            moved.append((newest, *candidates[0][2:], key))
        elif candidates:
            unsure.add(key)
    _write_last(connection, moved)
    return unsure


def _series_of(connection: Connection, identity: str, names: Iterable[str]) -> dict[str, tuple[int, int]]:
    """Return (id, last step) of each of these series; of a new one, -1 is the last step."""
    found = "SELECT name, id, coalesce(last_step, -1) FROM series WHERE experiment_id = ?"
    known = {name: (key, step) for name, key, step in connection.exec_driver_sql(found, (identity,))}
    for name in names:
        if name not in known:
            added = insert(schema.series).values(experiment_id=identity, name=name).returning(_series.id)
            known[name] = (connection.execute(added).scalar_one(), -1)
    return known


def _write_last(connection: Connection, rows: Sequence[Last]) -> None:
    if rows:
        statement = "UPDATE series SET last_step = ?, last_time = ?, last_value = ? WHERE id = ?"
        connection.exec_driver_sql(statement, list(rows))


def _last_point(connection: Connection, series_id: int, kept: Lineage) -> tuple[int | None, float | None, float | None]:
    *_, span = (None, *spans(connection, series_id, kept))
    if span is None:
        return None, None, None
    row = connection.exec_driver_sql(
        "SELECT step, time, value FROM points WHERE series_id = ? AND attempt = ? AND step = ?",
        (series_id, span.attempt, span.last),
    ).one()
    return row[0], row[1], row[2]


def _add_events(connection: Connection, identity: str, records: Sequence[EventRecord]) -> None:
    rows = [
        {
            "experiment_id": identity,
            "attempt": record.attempt,
            "time": record.time,
            "step": record.step,
            "level": record.level.value,
            "event": storable(record.event),
            "message": storable(record.message),
            "data": json.dumps(storable_document(dict(record.data))),
        }
        for record in records
    ]
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO events (experiment_id, attempt, time, step, level, event, message, data)"
            " SELECT :experiment_id, :attempt, :time, :step, :level, :event, :message, :data"
            " WHERE NOT EXISTS (SELECT 1 FROM events WHERE experiment_id = :experiment_id AND time = :time"
            " AND attempt = :attempt AND step IS :step AND event = :event AND message = :message AND data = :data)",
            rows,
        )
    for record in records:
        if record.event == "artifact":
            _add_artifact(connection, identity, record)


def _add_artifact(connection: Connection, identity: str, record: EventRecord) -> None:
    kind, path, digest = (record.data.get(key) for key in ("kind", "path", "sha256"))
    if not isinstance(kind, str) or not isinstance(path, str):
        return
    attempt = schema.attempts.c
    run_dir = connection.execute(
        select(attempt.run_dir).where(attempt.experiment_id == identity, attempt.number == record.attempt)
    ).scalar()
    values: dict[str, Any] = {
        "sha256": storable(digest) if isinstance(digest, str) else None,
        "step": record.step,
        "created_at": record.time,
    }
    added = insert(schema.artifacts).values(
        experiment_id=identity,
        kind=storable(kind),
        # An absolute path stays as it is.
        path=str(PurePosixPath(run_dir or "") / storable(path)),
        **values,
    )
    connection.execute(added.on_conflict_do_update(index_elements=["experiment_id", "kind", "path"], set_=values))


def _add_samples(connection: Connection, identity: str, records: Sequence[SampleRecord]) -> None:
    rows = [
        {
            "experiment_id": identity,
            "attempt": record.attempt,
            "step": record.step,
            "time": record.time,
            "prompt": storable(record.prompt),
            "response": storable(record.response),
            "reference": None if record.reference is None else storable(record.reference),
            "scores": json.dumps({storable(name): _score(value) for name, value in record.scores.items()}),
        }
        for record in records
    ]
    if rows:
        connection.exec_driver_sql(
            "INSERT INTO samples (experiment_id, attempt, step, time, prompt, response, reference, scores)"
            " SELECT :experiment_id, :attempt, :step, :time, :prompt, :response, :reference, :scores"
            " WHERE NOT EXISTS (SELECT 1 FROM samples WHERE experiment_id = :experiment_id AND step = :step"
            " AND time = :time AND attempt = :attempt AND prompt = :prompt AND response = :response)",
            rows,
        )


def _score(value: float) -> float | str:
    """JSON has no NaN and no infinity; `float` reads these strings."""
    return value if math.isfinite(value) else str(value)
