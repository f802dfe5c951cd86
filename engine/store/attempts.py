"""Attempts: the launches of an experiment, and when their nodes were last heard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy.dialects.sqlite import insert

from engine.errors import NotFound, Refused
from engine.store import schema
from engine.store.standing import follow, note_heard, require
from engine.store.text import storable
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.attempts
_ORDER = (State.STAGING, State.STARTING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One launch of an experiment. Times are seconds since the epoch, UTC."""

    experiment_id: str
    number: int  # 1, 2, …
    state: State
    reason: str | None
    exit_code: int | None
    run_dir: str  # on the nodes
    placement: Sequence[Mapping[str, Any]]  # {host, index, slots, first_rank} of each node
    resumed_step: int | None  # null until it began to train
    created_at: float
    started_at: float | None  # when it began to train
    ended_at: float | None


@dataclass(frozen=True, slots=True)
class Contact:
    """When a node of an attempt was last heard."""

    attempt: int
    node: int  # index in the placement
    host: str
    heard_at: float | None
    message: str | None  # why it is silent; null while all is well


def begin(store: Store, identity: str, *, run_dir: str, placement: Sequence[Mapping[str, Any]]) -> Attempt:
    """Begin the next attempt of a queued experiment; both are staging then.

    Raises:
        NotFound: if there is no such experiment.
        Refused: if it is not queued.
    """
    with store.write() as connection:
        state = require(connection, identity).state
        if state is not State.QUEUED:
            raise Refused(f"{identity} is {state}; only a queued experiment begins.")
        newest = connection.execute(select(func.max(_table.c.number)).where(_table.c.experiment_id == identity))
        number = (newest.scalar() or 0) + 1
        values = {
            "experiment_id": identity,
            "number": number,
            "state": State.STAGING,
            "run_dir": storable(run_dir),
            "placement": [dict(seat) for seat in placement],
            "created_at": time.time(),
        }
        connection.execute(insert(_table).values(values))
        follow(connection, identity, State.STAGING)
        return _attempt(_require(connection, identity, number))


def transition(
    store: Store, identity: str, number: int, state: State, *, reason: str | None = None, exit_code: int | None = None
) -> None:
    """Move an attempt on, and its experiment with it. The state that it has already changes nothing.

    Raises:
        NotFound: if there is no such attempt.
        Refused: if it has ended, or would go back.
    """
    with store.write() as connection:
        before = State(_require(connection, identity, number).state)
        if before is state:
            return
        if before.ended or not (state.ended or _comes_after(state, before)):
            raise Refused(f"attempt {number} of {identity} is {before} and cannot become {state}.")
        now = time.time()
        ended_at = now if state.ended else None
        told = None if reason is None else storable(reason)
        connection.execute(
            update(_table)
            .where(_table.c.experiment_id == identity, _table.c.number == number)
            .values(state=state, reason=told, exit_code=exit_code, ended_at=ended_at)
        )
        started_at = now if state is State.RUNNING else None
        follow(connection, identity, state, reason=told, exit_code=exit_code, ended_at=ended_at, started_at=started_at)


def list_attempts(store: Store, identity: str) -> list[Attempt]:
    """Return the attempts of an experiment, oldest first. Raises NotFound if there is no such experiment."""
    with store.read() as connection:
        require(connection, identity)
        found = select(_table).where(_table.c.experiment_id == identity).order_by(_table.c.number)
        return [_attempt(row) for row in connection.execute(found)]


def hear(  # noqa: PLR0917, in the order of the table's columns
    store: Store, identity: str, attempt: int, node: int, host: str, heard_at: float | None, message: str | None
) -> None:
    """Say when a node was last heard, and why it is silent if it is.

    Args:
        store: where.
        identity: the experiment.
        attempt: its number.
        node: index in the placement.
        host: its name.
        heard_at: seconds since the epoch; null if nothing was heard since the last call.
        message: one sentence; null while all is well.
    """
    table = schema.contacts
    with store.write(durable=False) as connection:
        _require(connection, identity, attempt)
        values = {"experiment_id": identity, "attempt": attempt, "node": node, "host": storable(host)}
        values |= {"heard_at": heard_at, "message": None if message is None else storable(message)}
        added = insert(table).values(values)
        connection.execute(
            added.on_conflict_do_update(
                index_elements=["experiment_id", "attempt", "node"],
                set_={
                    "host": added.excluded.host,
                    "heard_at": func.coalesce(added.excluded.heard_at, table.c.heard_at),
                    "message": added.excluded.message,
                },
            )
        )
        if heard_at is not None:
            note_heard(connection, identity, heard_at)


def contacts(store: Store, identity: str) -> list[Contact]:
    """Return when the nodes of each attempt were last heard. Raises NotFound if there is no such experiment."""
    table = schema.contacts
    columns = (table.c.attempt, table.c.node, table.c.host, table.c.heard_at, table.c.message)
    with store.read() as connection:
        require(connection, identity)
        found = select(*columns).where(table.c.experiment_id == identity).order_by(table.c.attempt, table.c.node)
        return [Contact(*row) for row in connection.execute(found)]


def _comes_after(state: State, before: State) -> bool:
    return state in _ORDER and _ORDER.index(state) > _ORDER.index(before)


def _require(connection: Connection, identity: str, number: int) -> Row[Any]:
    found = select(_table).where(_table.c.experiment_id == identity, _table.c.number == number)
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotFound(f"{identity} has no attempt {number}.")
    return row


def _attempt(row: Row[Any]) -> Attempt:
    values = dict(row._mapping)
    values["state"] = State(values["state"])
    return Attempt(**values)
