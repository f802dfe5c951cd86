"""What comes after an experiment: it waits for its parents, and is given up when one of them does not succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Connection, exists, select

from engine.store import schema
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.store.database import Store

_experiments = schema.experiments.c
_dependencies = schema.dependencies.c


def dependencies(store: Store) -> dict[str, dict[str, State]]:
    """Return by id of a queued experiment how those stand that it comes after; none for those that come after none."""
    table, queued = schema.dependencies, schema.experiments.alias("queued")
    found = (
        select(table.c.experiment_id, _experiments.id, _experiments.state)
        .join(schema.experiments, table.c.after_id == _experiments.id)
        .join(queued, table.c.experiment_id == queued.c.id)
        .where(queued.c.state == State.QUEUED)
        .order_by(_experiments.id)
    )
    by_id: dict[str, dict[str, State]] = {}
    with store.read() as connection:
        for identity, parent, state in connection.execute(found):
            by_id.setdefault(identity, {})[parent] = State(state)
    return by_id


def parents_of(store: Store, identity: str) -> dict[str, State]:
    """Return how those stand that an experiment comes after, by id."""
    with store.read() as connection:
        return _parents(connection, identity)


def given_up_after(connection: Connection, identity: str) -> list[str]:
    """Return what may begin after all once this experiment succeeds, parents first.

    That is what comes after it, at whatever remove, failed without an attempt, and has no other parent that ended
    without success.
    """
    found: list[str] = []
    hopeful = {identity}  # what has ended without success, and is to begin again
    waiting = [identity]
    while waiting:
        for child in _given_up(connection, waiting.pop(0)):
            others = {parent: state for parent, state in _parents(connection, child).items() if parent not in hopeful}
            if child in hopeful or any(state.ended_badly for state in others.values()):
                continue
            hopeful.add(child)
            found.append(child)
            waiting.append(child)
    return found


def _parents(connection: Connection, identity: str) -> dict[str, State]:
    found = select(_experiments.id, _experiments.state).join(
        schema.dependencies, _dependencies.after_id == _experiments.id
    )
    rows = connection.execute(found.where(_dependencies.experiment_id == identity).order_by(_experiments.id))
    return {parent: State(state) for parent, state in rows}


def _given_up(connection: Connection, parent: str) -> list[str]:
    """Return the children of an experiment that failed without an attempt."""
    tried = exists().where(schema.attempts.c.experiment_id == _experiments.id)
    found = (
        select(_experiments.id)
        .join(schema.dependencies, _dependencies.experiment_id == _experiments.id)
        .where(_dependencies.after_id == parent, _experiments.state == State.FAILED, ~tried)
    )
    return list(connection.execute(found.order_by(_experiments.created_at, _experiments.id)).scalars())
