"""Numbers that are given once: of experiments of a kind, of launches of a pipeline."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert

from engine.store import schema


def next_number(connection: Connection, counted: str) -> int:
    """Return the next number of what is counted, from 1 on; none is ever given twice."""
    table = schema.counters
    counter = insert(table).values(kind=counted, last_number=1)
    counter = counter.on_conflict_do_update(index_elements=["kind"], set_={"last_number": table.c.last_number + 1})
    return int(connection.execute(counter.returning(table.c.last_number)).scalar_one())
