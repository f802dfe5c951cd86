"""What was measured of indexes after they were built: how well they find what questions ask for."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, insert, select

from engine.store import schema

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.index_measures
_MOST, _MOST_OF_ALL = 200, 5_000  # that are read of one index, and of all

Figure = Sequence[float]  # value, and both ends of its 95 % interval


@dataclass(frozen=True, slots=True)
class IndexMeasure:
    """One way of searching an index, measured by one set of questions."""

    experiment_id: str | None  # that made the index; null: none of the database did
    path: str  # of the index, on the machine that measured it
    manifest_sha256: str  # of its manifest then
    questions: str  # the file they were read from
    questions_sha256: str
    count: int  # of questions
    mode: str  # dense, lexical or hybrid
    fusion: str | None  # null: no two rankings were fused
    settings: Mapping[str, Any]
    figures: Mapping[str, Figure | None]  # by measure; null: undefined
    seconds: float  # of all searches, in batches
    latency_p50: float  # seconds of one question alone
    latency_p99: float
    measured_at: float = field(default_factory=time.time)  # seconds since the epoch, UTC


def keep(store: Store, measures: Iterable[IndexMeasure]) -> None:
    """Keep what was measured, all or nothing."""
    rows = [asdict(one) for one in measures]
    if rows:
        with store.write() as connection:
            connection.execute(insert(_table), rows)


def maker_of(store: Store, path: str) -> str | None:
    """Return the id of the experiment that made the index at a path last; null if none did."""
    made = schema.artifacts
    chosen = select(made.c.experiment_id).where(made.c.kind == "index", made.c.path == path)
    with store.read() as connection:
        found: str | None = connection.execute(chosen.order_by(made.c.created_at.desc()).limit(1)).scalar()
    return found


def of_experiment(store: Store, identity: str) -> list[IndexMeasure]:
    """Return what was measured of the indexes that an experiment made, the newest first."""
    return _read(store, _table.c.experiment_id == identity)


def of_path(store: Store, path: str) -> list[IndexMeasure]:
    """Return what was measured of the index at a path, the newest first."""
    return _read(store, _table.c.path == path)


def by_experiment(store: Store) -> dict[str, list[IndexMeasure]]:
    """Return what was measured of the indexes that experiments made, by their ids, the newest first."""
    found: dict[str, list[IndexMeasure]] = {}
    for one in _read(store, _table.c.experiment_id.is_not(None), most=_MOST_OF_ALL):
        found.setdefault(str(one.experiment_id), []).append(one)
    return found


def newest(measures: Iterable[IndexMeasure]) -> list[IndexMeasure]:
    """Return the first of each question set and way of searching: the newest, of those that stand newest first."""
    found: dict[tuple[str, str, str | None], IndexMeasure] = {}
    for one in measures:
        found.setdefault((one.questions_sha256, one.mode, one.fusion), one)
    return list(found.values())


def _read(store: Store, which: ColumnElement[bool], *, most: int = _MOST) -> list[IndexMeasure]:
    chosen = select(_table).where(which).order_by(_table.c.measured_at.desc(), _table.c.id).limit(most)
    with store.read() as connection:
        rows = connection.execute(chosen).mappings().all()
    return [IndexMeasure(**{name: value for name, value in row.items() if name != "id"}) for row in rows]
