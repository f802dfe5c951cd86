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
from engine.store.standing import change, follow, note_heard, require
from engine.store.text import storable, storable_document
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
class Again:
    """That an experiment goes back into the queue when its attempt has ended."""

    reason: str
    not_before: float  # seconds since the epoch
    faults: int  # of nodes and links, since it last got on


@dataclass(frozen=True, slots=True)
class Contact:
    """When a node of an attempt was last heard."""

    attempt: int
    node: int  # index in the placement
    host: str
    heard_at: float | None
    message: str | None  # why it is silent; null while all is well
    pulse: Mapping[str, Any] | None  # how its ranks stood when they were last heard
    cleared: bool  # false: something of the attempt, which has ended, may live there


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
    store: Store,
    identity: str,
    number: int,
    state: State,
    *,
    reason: str | None = None,
    exit_code: int | None = None,
    again: Again | None = None,
    remains: Mapping[int, str] | None = None,
) -> None:
    """Move an attempt on, and its experiment with it. The state that it has already changes nothing.

    Args:
        store: where.
        identity: the experiment.
        number: of the attempt.
        state: of the attempt.
        reason: of its end, one sentence.
        exit_code: of its end.
        again: null, or the experiment is queued once more.
        remains: nodes, by index, on which something of it may still live, and their hosts.

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
        for node, host in (remains or {}).items():
            _note_contact(connection, identity, number, node, host=storable(host), cleared=0)
        if again is not None:
            follow(connection, identity, State.QUEUED, reason=again.reason)
            change(connection, identity, not_before=again.not_before, faults=again.faults)
            return
        started_at = now if state is State.RUNNING else None
        follow(connection, identity, state, reason=told, exit_code=exit_code, ended_at=ended_at, started_at=started_at)


def explain(store: Store, identity: str, number: int, reason: str | None) -> None:
    """Say what an attempt that has not ended is about. Raises NotFound if there is no such attempt."""
    with store.write(durable=False) as connection:
        row = _require(connection, identity, number)
        if not State(row.state).ended:
            change(connection, identity, reason=None if reason is None else storable(reason))


def list_attempts(store: Store, identity: str) -> list[Attempt]:
    """Return the attempts of an experiment, oldest first. Raises NotFound if there is no such experiment."""
    with store.read() as connection:
        require(connection, identity)
        found = select(_table).where(_table.c.experiment_id == identity).order_by(_table.c.number)
        return [_attempt(row) for row in connection.execute(found)]


def hear(
    store: Store,
    identity: str,
    attempt: int,
    node: int,
    host: str,
    *,
    heard_at: float | None,
    message: str | None,
    pulse: Mapping[str, Any] | None = None,
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
        pulse: how its ranks stand; null if that was not heard.
    """
    with store.write(durable=False) as connection:
        _require(connection, identity, attempt)
        told = None if message is None else storable(message)
        heard = {} if heard_at is None else {"heard_at": heard_at}
        beat = {} if pulse is None else {"pulse": storable_document(dict(pulse))}
        _note_contact(connection, identity, attempt, node, host=storable(host), message=told, **heard, **beat)
        if heard_at is not None:
            note_heard(connection, identity, heard_at)


def finished(store: Store, kind: str, *, limit: int = 50) -> list[tuple[str, Sequence[Mapping[str, Any]], float]]:
    """Return the last runs of a kind that succeeded at their first attempt: id, placement, and seconds of training."""
    table = schema.experiments
    lasted = (_table.c.ended_at - _table.c.started_at).label("lasted")
    found = (
        select(_table.c.experiment_id, _table.c.placement, lasted)
        .join(table, table.c.id == _table.c.experiment_id)
        .where(table.c.kind == kind, _table.c.number == 1, _table.c.state == State.SUCCEEDED, lasted.is_not(None))
        .order_by(_table.c.ended_at.desc())
        .limit(limit)
    )
    with store.read() as connection:
        return [(row.experiment_id, row.placement, row.lasted) for row in connection.execute(found)][::-1]


def remains(store: Store) -> list[tuple[Attempt, int, str]]:
    """Return where something of an ended attempt may still live: the attempt, the node's index and its host."""
    table = schema.contacts
    found = select(_table, table.c.node, table.c.host).join(
        table, (table.c.experiment_id == _table.c.experiment_id) & (table.c.attempt == _table.c.number)
    )
    with store.read() as connection:
        rows = connection.execute(found.where(table.c.cleared == 0).order_by(_table.c.created_at)).all()
    return [(_attempt(row), row.node, row.host) for row in rows]


def clear(store: Store, identity: str, attempt: int, node: int) -> None:
    """Say that nothing of an ended attempt lives on a node any more."""
    table = schema.contacts
    with store.write() as connection:
        of_node = (table.c.experiment_id == identity, table.c.attempt == attempt, table.c.node == node)
        connection.execute(update(table).where(*of_node).values(cleared=1))


def contacts(store: Store, identity: str) -> list[Contact]:
    """Return when the nodes of each attempt were last heard. Raises NotFound if there is no such experiment."""
    table = schema.contacts
    names = ("attempt", "node", "host", "heard_at", "message", "pulse", "cleared")
    columns = [table.c[name] for name in names]
    with store.read() as connection:
        require(connection, identity)
        found = select(*columns).where(table.c.experiment_id == identity).order_by(table.c.attempt, table.c.node)
        return [Contact(**{**row._mapping, "cleared": bool(row.cleared)}) for row in connection.execute(found)]


def _note_contact(connection: Connection, identity: str, attempt: int, node: int, **values: Any) -> None:
    table = schema.contacts
    added = insert(table).values(experiment_id=identity, attempt=attempt, node=node, **values)
    connection.execute(added.on_conflict_do_update(index_elements=["experiment_id", "attempt", "node"], set_=values))


def _comes_after(state: State, before: State) -> bool:
    return state in _ORDER and _ORDER.index(state) > _ORDER.index(before)


def _require(connection: Connection, identity: str, number: int) -> Row[Any]:
    found = select(_table).where(_table.c.experiment_id == identity, _table.c.number == number)
    row = connection.execute(found).one_or_none()
    if row is None:
        raise NotFound(f"{identity} has no attempt {number}.")
    return row


def _attempt(row: Row[Any]) -> Attempt:
    values = {column.name: row._mapping[column] for column in _table.c}
    values["state"] = State(values["state"])
    return Attempt(**values)
