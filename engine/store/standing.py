"""How an experiment stands, inside a transaction: what decides whether something may be done to it, how it moves."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select, update

from engine.errors import NotFound
from engine.store import schema
from engine.store.text import storable
from engine.telemetry.states import Desired, State

_table = schema.experiments
_columns = _table.c


@dataclass(frozen=True, slots=True)
class Standing:
    """What decides whether something may be done to an experiment."""

    kind: str
    state: State
    desired: Desired
    reason: str | None
    exit_code: int | None
    archived_at: float | None


def require(connection: Connection, identity: str) -> Standing:
    """Return how an experiment stands. Raises NotFound if there is none of that id."""
    found = select(
        _columns.kind, _columns.state, _columns.desired, _columns.reason, _columns.exit_code, _columns.archived_at
    ).where(_columns.id == identity)
    row = connection.execute(found).one_or_none()
    if row is None:
        raise unknown(identity)
    return Standing(row.kind, State(row.state), Desired(row.desired), row.reason, row.exit_code, row.archived_at)


def unknown(identity: str) -> NotFound:
    """Return the error of an id that no experiment has."""
    return NotFound(f"there is no experiment {identity}.")


def change(connection: Connection, identity: str, **values: Any) -> None:
    """Set columns of an experiment. Raises NotFound if there is none of that id."""
    if connection.execute(update(_table).where(_columns.id == identity).values(**values)).rowcount == 0:
        raise unknown(identity)


def follow(
    connection: Connection,
    identity: str,
    state: State,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    ended_at: float | None = None,
    started_at: float | None = None,
) -> None:
    """Let an experiment stand as its attempt does. started_at: counts if it had not started before."""
    change(
        connection,
        identity,
        state=state,
        reason=None if reason is None else storable(reason),
        exit_code=exit_code,
        ended_at=ended_at,
        started_at=func.coalesce(_columns.started_at, started_at),
    )


def queue_again(connection: Connection, identity: str, **values: Any) -> None:
    """Let an experiment that has ended wait for a new attempt, and set other columns besides."""
    change(
        connection,
        identity,
        state=State.QUEUED,
        desired=Desired.RUN,
        reason=None,
        exit_code=None,
        ended_at=None,
        archived_at=None,
        not_before=None,
        queued_at=time.time(),
        faults=0,
        **values,
    )


def note_heard(connection: Connection, identity: str, at: float, **values: Any) -> None:
    """Move `heard_at` on, never back, and set other columns besides. at: seconds since the epoch."""
    change(connection, identity, heard_at=func.max(func.coalesce(_columns.heard_at, at), at), **values)
