"""What people do to experiments beside running them: names, tags, notes, priorities, archive, deletion.

All functions raise NotFound for an unknown id.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, select
from sqlalchemy import delete as delete_from
from sqlalchemy.dialects.sqlite import insert

from engine.errors import InvalidInput, Refused
from engine.store import schema
from engine.store.standing import change, require
from engine.store.text import storable
from engine.telemetry.states import ENDED, State

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.experiments
_LONGEST_NAME = 200  # characters


def rename(store: Store, identity: str, name: str) -> None:
    """Give an experiment another name. Raises InvalidInput for an empty or overlong one."""
    with store.write() as connection:
        change(connection, identity, name=checked_name(name))


def add_tags(store: Store, identity: str, tags: Iterable[str]) -> None:
    """Add tags; those that it has already stay."""
    with store.write() as connection:
        require(connection, identity)
        insert_tags(connection, identity, tags)


def remove_tags(store: Store, identity: str, tags: Iterable[str]) -> None:
    """Take tags away, as far as it has them."""
    table = schema.tags
    with store.write() as connection:
        require(connection, identity)
        chosen = and_(table.c.experiment_id == identity, table.c.tag.in_([storable(tag) for tag in tags]))
        connection.execute(delete_from(table).where(chosen))


def set_note(store: Store, identity: str, note: str) -> None:
    """Write a line about an experiment; an empty one takes it away."""
    with store.write() as connection:
        change(connection, identity, note=storable(note) or None)


def set_priority(store: Store, identity: str, priority: int) -> None:
    """Say how urgent an experiment is: higher first. What runs already stays where it is."""
    with store.write() as connection:
        change(connection, identity, priority=priority)


def archive(store: Store, identity: str) -> None:
    """Take an experiment out of the list. Raises Refused while an attempt of it is under way."""
    with store.write() as connection:
        row = require(connection, identity)
        if not row.state.ended and row.state is not State.QUEUED:
            raise Refused(f"{identity} is {row.state}.", hint="Stop it before it is archived.")
        if row.archived_at is None:
            change(connection, identity, archived_at=time.time())


def restore(store: Store, identity: str) -> None:
    """Bring an archived experiment back into the list."""
    with store.write() as connection:
        change(connection, identity, archived_at=None)


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
