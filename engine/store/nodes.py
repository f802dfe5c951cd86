"""Nodes: how each machine stood when it was last heard, and whether new runs may begin there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects.sqlite import insert

from engine.store import schema
from engine.store.text import storable, storable_document

if TYPE_CHECKING:
    from engine.store.database import Store

_table = schema.nodes
_samples = schema.node_samples
KEPT_SECONDS = 6 * 3600.0  # of samples


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A machine. Times are seconds since the epoch, UTC."""

    key: str  # names a machine across hostfiles
    host: str
    drained_at: float | None  # nothing new begins there since then
    heard_at: float | None
    message: str | None  # why it is silent; null while all is well
    standing: Mapping[str, Any] | None  # load, memory, GPUs and leases when it was last heard


def list_nodes(store: Store) -> list[NodeRecord]:
    """Return every machine that was ever heard or drained, by key."""
    with store.read() as connection:
        return [NodeRecord(*row) for row in connection.execute(select(_table).order_by(_table.c.key))]


def drained(store: Store) -> frozenset[str]:
    """Return the keys of the nodes on which nothing new begins."""
    with store.read() as connection:
        return frozenset(connection.execute(select(_table.c.key).where(_table.c.drained_at.is_not(None))).scalars())


def drain(store: Store, key: str, host: str, *, drained: bool = True) -> None:
    """Let nothing new begin on a node, or again. What runs there goes on."""
    with store.write() as connection:
        _note(connection, key, host=storable(host), drained_at=time.time() if drained else None)


def hear(
    store: Store,
    key: str,
    host: str,
    *,
    heard_at: float | None,
    message: str | None,
    standing: Mapping[str, Any] | None,
    sample: bool = False,
) -> None:
    """Say how a node stands. heard_at, standing: null for nothing new; sample: keep the standing for curves."""
    document = None if standing is None else storable_document(dict(standing))
    known: dict[str, Any] = {"message": None if message is None else storable(message)}
    known |= {} if heard_at is None else {"heard_at": heard_at}
    known |= {} if document is None else {"standing": document}
    with store.write(durable=False) as connection:
        _note(connection, key, host=storable(host), **known)
        if sample and document is not None:
            now = time.time()
            row = {"key": key, "time": now, "standing": document}
            connection.execute(insert(_samples).values(row).on_conflict_do_nothing())
            connection.execute(delete(_samples).where(_samples.c.key == key, _samples.c.time < now - KEPT_SECONDS))


def samples(store: Store, key: str, *, since: float = 0.0) -> list[tuple[float, Mapping[str, Any]]]:
    """Return how a node stood, oldest first. since: seconds since the epoch."""
    found = select(_samples.c.time, _samples.c.standing).where(_samples.c.key == key, _samples.c.time >= since)
    with store.read() as connection:
        return [(row.time, row.standing) for row in connection.execute(found.order_by(_samples.c.time))]


def _note(connection: Connection, key: str, **values: Any) -> None:
    added = insert(_table).values(key=key, **values)
    connection.execute(added.on_conflict_do_update(index_elements=["key"], set_=values))
