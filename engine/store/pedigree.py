"""Where an experiment comes from and what came of it, at whatever remove, as two trees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from engine.store import schema
from engine.store.standing import require
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.store.database import Store

MOST = 400  # relatives that are told of

_Edge = tuple[str, str]  # id of the other one, how they are related


@dataclass(frozen=True, slots=True)
class Relative:
    """An experiment that another one was made from, or that was made from it."""

    id: str
    name: str
    kind: str
    state: State
    how: str  # "model, index": what is taken; "its settings": it was cloned; "its turn": it waited for the other one
    repeated: bool  # it stands in the tree already, with its own relatives
    further: tuple[Relative, ...]


@dataclass(frozen=True, slots=True)
class Pedigree:
    """The relatives of an experiment."""

    origins: tuple[Relative, ...]
    outcomes: tuple[Relative, ...]


def pedigree(store: Store, identity: str) -> Pedigree:
    """Return the relatives of an experiment. Raises NotFound if there is no such experiment."""
    table, taken, waited = schema.experiments.c, schema.inputs.c, schema.dependencies.c
    relations: dict[tuple[str, str], list[str]] = {}  # (child, parent)
    with store.read() as connection:
        require(connection, identity)
        found = select(table.id, table.name, table.kind, table.state, table.parent_id)
        known = {row.id: row for row in connection.execute(found)}
        for child, parent, kind in connection.execute(
            select(taken.experiment_id, taken.parent_id, taken.kind).order_by(taken.kind)
        ):
            told = relations.setdefault((child, parent), [])
            told += [kind] if kind not in told else []
        for child, parent in connection.execute(select(waited.experiment_id, waited.after_id)):
            relations.setdefault((child, parent), ["its turn"])
    for row in known.values():
        if row.parent_id is not None:
            relations.setdefault((row.id, row.parent_id), []).append("its settings")
    up: dict[str, list[_Edge]] = {}
    down: dict[str, list[_Edge]] = {}
    for (child, parent), how in sorted(relations.items()):
        if child in known and parent in known:
            up.setdefault(child, []).append((parent, ", ".join(how)))
            down.setdefault(parent, []).append((child, ", ".join(how)))

    def make(one: str, how: str, repeated: bool, further: tuple[Relative, ...]) -> Relative:
        row = known[one]
        return Relative(one, row.name, row.kind, State(row.state), how, repeated, further)

    return Pedigree(_tree(identity, up, make), _tree(identity, down, make))


def _tree(
    root: str,
    edges: Mapping[str, Sequence[_Edge]],
    make: Callable[[str, str, bool, tuple[Relative, ...]], Relative],
) -> tuple[Relative, ...]:
    """Return the tree below a root; what it has twice, as two ways may lead to it, is whole at the first place."""
    seen = {root}

    def below(identity: str) -> tuple[Relative, ...]:
        found = []
        for other, how in edges.get(identity, ()):
            repeated = other in seen
            if len(seen) >= MOST and not repeated:
                break
            seen.add(other)
            found.append(make(other, how, repeated, () if repeated else below(other)))
        return tuple(found)

    return below(root)
