"""Saved views of the list of experiments: small documents under a name."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert

from engine.errors import InvalidInput, NotFound
from engine.store import schema
from engine.store.text import storable, storable_document

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.views
_LONGEST_NAME = 60  # characters


def save(store: Store, name: str, view: Mapping[str, Any]) -> None:
    """Keep a view under a name, instead of what had that name. Raises InvalidInput for an empty or overlong name."""
    if not name.strip() or len(name) > _LONGEST_NAME:
        raise InvalidInput(f"the name of a view has 1 to {_LONGEST_NAME} characters.")
    row = {"name": storable(name.strip()), "view": storable_document(dict(view)), "saved_at": time.time()}
    with store.write() as connection:
        connection.execute(insert(_table).values(row).on_conflict_do_update(index_elements=["name"], set_=row))


def saved(store: Store) -> dict[str, Mapping[str, Any]]:
    """Return the views by their names, sorted."""
    with store.read() as connection:
        rows = connection.execute(select(_table.c.name, _table.c.view).order_by(_table.c.name))
        return {name: view for name, view in rows}


def forget(store: Store, name: str) -> None:
    """Delete a view. Raises NotFound if there is none of that name."""
    with store.write() as connection:
        if connection.execute(delete_from(_table).where(_table.c.name == name)).rowcount == 0:
            raise NotFound(f"there is no view {name!r}.")
