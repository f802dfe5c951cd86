"""Events: what happened to an experiment, told by its attempts and by the dispatcher."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select

from engine.store import schema
from engine.store.lineage import lineage
from engine.store.standing import require
from engine.store.text import storable, storable_document
from engine.telemetry.records import Level

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.events
_columns = _table.c


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened."""

    id: int  # ascends with the order in which they came in
    attempt: int
    time: float  # seconds since the epoch, by the clock of who tells it
    step: int | None
    level: Level
    event: str  # machine name
    message: str  # one sentence
    data: Mapping[str, Any]


def list_events(
    store: Store, identity: str, *, after_id: int = 0, limit: int | None = None, newest: bool = False
) -> list[Event]:
    """Return the events of an experiment in the order in which they came in.

    Args:
        store: where.
        identity: the experiment.
        after_id: only those with a larger id.
        limit: at most so many.
        newest: of more than `limit`, take the last ones; else the first ones.

    Raises NotFound if there is no such experiment.
    """
    with store.read() as connection:
        require(connection, identity)
        found = select(
            _columns.id,
            _columns.attempt,
            _columns.time,
            _columns.step,
            _columns.level,
            _columns.event,
            _columns.message,
            _columns.data,
        ).where(_columns.experiment_id == identity, _columns.id > after_id)
        found = found.order_by(_columns.id.desc() if newest else _columns.id).limit(limit)
        listed = [
            Event(key, attempt, at, step, Level(level), event, message, data)
            for key, attempt, at, step, level, event, message, data in connection.execute(found)
        ]
    return listed[::-1] if newest else listed


def last_checkpoint(store: Store, identity: str) -> int | None:
    """Return the step of the last checkpoint, as far as is known. Raises NotFound if there is no such experiment."""
    with store.read() as connection:
        require(connection, identity)
        kept = lineage(connection, identity)
        found = select(_columns.attempt, _columns.step).where(
            _columns.experiment_id == identity, _columns.event == "checkpoint", _columns.step.is_not(None)
        )
        rows = connection.execute(found).all()
    return max((step for attempt, step in rows if step <= kept.last_step(attempt)), default=None)


def add(
    store: Store,
    identity: str,
    attempt: int,
    event: str,
    message: str,
    *,
    level: Level = Level.INFO,
    step: int | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Tell of something that happened on this machine. Raises NotFound if there is no such experiment."""
    with store.write() as connection:
        require(connection, identity)
        connection.execute(
            insert(_table).values(
                experiment_id=identity,
                attempt=attempt,
                time=time.time(),
                step=step,
                level=level,
                event=event,
                message=storable(message),
                data=storable_document(dict(data or {})),
            )
        )
