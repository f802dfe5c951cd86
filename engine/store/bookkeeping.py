"""What people do to experiments beside running them: names, tags, notes, priorities, pins, archive, deletion.

Everything but a deletion is a step of the journal, which can be undone. All functions raise NotFound for an unknown id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, func, select
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.sqlite import insert

from engine.errors import InvalidInput, Refused
from engine.store import schema
from engine.store.journal import recorded
from engine.store.standing import change, require
from engine.store.text import storable
from engine.telemetry.states import ENDED, State

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.experiments
_LONGEST_NAME = 200  # characters


Which = str | Sequence[str]  # one experiment or several: all are changed, or none; one step for undo


def rename(store: Store, identity: str, name: str) -> None:
    """Give an experiment another name. Raises InvalidInput for an empty or overlong one."""
    with _step(store, identity, "renamed") as (connection, _):
        change(connection, identity, name=checked_name(name))


def add_tags(store: Store, which: Which, tags: Iterable[str]) -> None:
    """Add tags; those that they have already stay."""
    chosen = tuple(tags)
    with _step(store, which, "tagged") as (connection, ids):
        for identity in ids:
            insert_tags(connection, identity, chosen)


def remove_tags(store: Store, which: Which, tags: Iterable[str]) -> None:
    """Take tags away, as far as they have them."""
    change_tags(store, which, remove=tags)


def change_tags(store: Store, which: Which, *, add: Iterable[str] = (), remove: Iterable[str] = ()) -> None:
    """Add tags and take others away, in one step."""
    table, chosen, away = schema.tags, tuple(add), [storable(tag) for tag in remove]
    with _step(store, which, "tagged" if chosen else "untagged") as (connection, ids):
        gone = and_(table.c.experiment_id.in_(ids), table.c.tag.in_(away))
        connection.execute(delete_from(table).where(gone))
        for identity in ids:
            insert_tags(connection, identity, chosen)


def set_note(store: Store, which: Which, note: str) -> None:
    """Write a line about experiments; an empty one takes it away."""
    with _step(store, which, "noted on") as (connection, ids):
        for identity in ids:
            change(connection, identity, note=storable(note) or None)


def set_priority(store: Store, which: Which, priority: int) -> None:
    """Say how urgent experiments are: higher first. What runs already stays where it is."""
    with _step(store, which, "gave another priority to") as (connection, ids):
        for identity in ids:
            change(connection, identity, priority=priority)


def pin(store: Store, which: Which, pinned: bool = True) -> None:
    """Let experiments stand first in the list, or no longer."""
    with _step(store, which, "pinned" if pinned else "unpinned") as (connection, ids):
        moment = time.time()
        for identity in ids:
            at = func.coalesce(_table.c.pinned_at, moment) if pinned else None
            change(connection, identity, pinned_at=at)


def archive(store: Store, which: Which) -> None:
    """Take experiments out of the list. Raises Refused while an attempt of one of them is under way."""
    with _step(store, which, "archived") as (connection, ids):
        for identity in ids:
            row = require(connection, identity)
            if not row.state.ended and row.state is not State.QUEUED:
                raise Refused(f"{identity} is {row.state}.", hint="Stop it before it is archived.")
            if row.archived_at is None:
                change(connection, identity, archived_at=time.time())


def restore(store: Store, which: Which) -> None:
    """Bring archived experiments back into the list."""
    with _step(store, which, "brought back") as (connection, ids):
        for identity in ids:
            change(connection, identity, archived_at=None)


@contextmanager
def _step(store: Store, which: Which, verb: str) -> Iterator[tuple[Connection, Sequence[str]]]:
    """Write, and record it as one step. Raises NotFound for an unknown id."""
    ids = [which] if isinstance(which, str) else list(dict.fromkeys(which))
    what = f"{verb} {ids[0]}" if len(ids) == 1 else f"{verb} {len(ids)} runs"
    with store.write() as connection, recorded(connection, ids, what):
        yield connection, ids


def delete(store: Store, identity: str) -> None:
    """Delete an experiment with all that is known of it. Its id is never used again.

    Raises:
        Refused: if it has not ended, or an experiment that has not ended comes after it.
    """
    table = schema.dependencies
    with store.write() as connection:
        row = require(connection, identity)
        if not row.state.ended:
            raise Refused(f"{identity} is {row.state}.", hint="Stop it before it is deleted.")
        waiting = select(_table.c.id).join(table, table.c.experiment_id == _table.c.id)
        waiting = waiting.where(table.c.after_id == identity, _table.c.state.not_in(ENDED))
        found = connection.execute(waiting).scalars().first()
        if found is not None:
            raise Refused(f"{found} comes after {identity}.", hint=f"Stop {found} before {identity} is deleted.")
        connection.execute(delete_from(_table).where(_table.c.id == identity))


def checked_name(name: str) -> str:
    """Return a name as it is kept. Raises InvalidInput for an empty or overlong one."""
    if not name.strip():
        raise InvalidInput("a name needs at least one character.")
    if len(name) > _LONGEST_NAME:
        raise InvalidInput(f"a name has at most {_LONGEST_NAME} characters.")
    return storable(name)


def insert_tags(connection: Connection, identity: str, tags: Iterable[str]) -> None:
    """Add tags in a transaction. Raises InvalidInput for an empty or overlong one."""
    chosen = [storable(tag) for tag in tags]
    if any(not tag.strip() or len(tag) > _LONGEST_NAME for tag in chosen):
        raise InvalidInput(f"a tag has 1 to {_LONGEST_NAME} characters.")
    if chosen:
        rows = [{"experiment_id": identity, "tag": tag} for tag in chosen]
        connection.execute(insert(schema.tags).on_conflict_do_nothing(), rows)
