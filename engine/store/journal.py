"""What people changed about experiments, step by step, so that each step can be undone and done again.

The steps stand in the database: they outlive the program, and whoever looks at the database has the same ones. A step
is undone only if what it changed still is as it left it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.sqlite import insert

from engine.errors import Refused
from engine.store import schema
from engine.store.standing import require

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.journal
_MOST_STEPS = 200  # that are kept
_COLUMNS = ("name", "note", "priority", "archived_at", "pinned_at")
_TAGS = "tags"
_SAID = {  # of an experiment that a step left otherwise
    "name": "has another name",
    "note": "has another note",
    "priority": "has another priority",
    "archived_at": "was archived or brought back",
    "pinned_at": "was pinned or unpinned",
    _TAGS: "has other tags",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step, done or undone."""

    what: str  # "archived 3 runs"
    ids: tuple[str, ...]  # of the experiments that it changed


@contextmanager
def recorded(connection: Connection, ids: Sequence[str], what: str) -> Iterator[None]:
    """Record what is changed about these experiments in the block, as one step; nothing if nothing changes.

    What had been undone before can then no longer be done again.
    """
    before = {identity: _state(connection, identity) for identity in ids}
    yield
    changes: list[dict[str, Any]] = []
    for identity in ids:
        after = _state(connection, identity)
        for field, value in before[identity].items():
            if value != after[field]:
                changes.append({"id": identity, "field": field, "before": value, "after": after[field]})
    if not changes:
        return
    connection.execute(delete_from(_table).where(_table.c.undone == 1))
    row = insert(_table).values(time=time.time(), what=what, changes=changes)
    newest: int = connection.execute(row).inserted_primary_key[0]  # type: ignore[index]
    connection.execute(delete_from(_table).where(_table.c.id <= newest - _MOST_STEPS))


def undo(store: Store) -> Step:
    """Take the last step back. Raises Refused if there is none, or its work was changed since: then it is forgotten."""
    return _turn(store, undone=0)


def redo(store: Store) -> Step:
    """Do the step again that was undone last. Raises Refused, as `undo` does."""
    return _turn(store, undone=1)


def _turn(store: Store, *, undone: int) -> Step:
    steps = select(_table).where(_table.c.undone == undone).limit(1)
    steps = steps.order_by(_table.c.id if undone else _table.c.id.desc())
    with store.write() as connection:
        row = connection.execute(steps).one_or_none()
        if row is None:
            raise Refused("there is nothing to do again." if undone else "there is nothing to undo.")
        stale = _changed_since(connection, row.changes, expected="before" if undone else "after")
        if stale is None:
            for change in row.changes:
                _set(connection, change["id"], change["field"], change["after" if undone else "before"])
            connection.execute(update(_table).where(_table.c.id == row.id).values(undone=1 - undone))
            return Step(row.what, tuple(dict.fromkeys(change["id"] for change in row.changes)))
        connection.execute(delete_from(_table).where(_table.c.id == row.id))
    verb = "done again" if undone else "undone"
    raise Refused(f'"{row.what}" is not {verb}: {stale}.', hint="The step is forgotten.")


def _changed_since(connection: Connection, changes: Sequence[dict[str, Any]], *, expected: str) -> str | None:
    """Return what is no longer as the step left it; null if all is."""
    known: dict[str, dict[str, Any]] = {}
    for change in changes:
        identity, field = change["id"], change["field"]
        there = select(schema.experiments.c.id).where(schema.experiments.c.id == identity)
        if connection.execute(there).one_or_none() is None:
            return f"{identity} was deleted since"
        if identity not in known:
            known[identity] = _state(connection, identity)
        if known[identity][field] != change[expected]:
            return f"{identity} {_SAID[field]} since"
    return None


def _state(connection: Connection, identity: str) -> dict[str, Any]:
    """Return what a step may change of an experiment. Raises NotFound."""
    require(connection, identity)
    columns = [schema.experiments.c[name] for name in _COLUMNS]
    row = connection.execute(select(*columns).where(schema.experiments.c.id == identity)).one()
    tag = schema.tags.c
    tags = select(tag.tag).where(tag.experiment_id == identity).order_by(tag.tag)
    return {**dict(row._mapping), _TAGS: list(connection.execute(tags).scalars())}


def _set(connection: Connection, identity: str, field: str, value: Any) -> None:
    if field != _TAGS:
        table = schema.experiments
        connection.execute(update(table).where(table.c.id == identity).values({field: value}))
        return
    connection.execute(delete_from(schema.tags).where(schema.tags.c.experiment_id == identity))
    if value:
        connection.execute(insert(schema.tags), [{"experiment_id": identity, "tag": tag} for tag in value])
