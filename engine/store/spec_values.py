"""The values of specs, by dotted key: what filters, groups and sorting ask for, without reading a spec's text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from engine.store import schema

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment

Values = Mapping[str, Any]
_columns = schema.experiments.c
_MOST_ASKED = 500  # ids in one statement


def spec_values(store: Store, ids: Sequence[str]) -> dict[str, Values]:
    """Return the values of the specs of these experiments, by id; of an unknown one, none."""
    found: dict[str, Values] = {}
    with store.read() as connection:
        for first in range(0, len(ids), _MOST_ASKED):
            asked = select(_columns.id, _columns.spec_values).where(_columns.id.in_(ids[first : first + _MOST_ASKED]))
            found |= {identity: values for identity, values in connection.execute(asked)}
    return found


class SpecValues:
    """Reads them again and again, but each only when it may have changed. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, Values] = {}
        self._seen: dict[str, tuple[object, ...]] = {}

    def of(self, experiments: Iterable[Experiment]) -> Mapping[str, Values]:
        """Return the values of the specs of these experiments, and maybe of others, by id."""
        # Only a resumption changes a spec without its hash.
        marks = {one.id: (one.spec_hash, one.queued_at) for one in experiments}
        new = [identity for identity, mark in marks.items() if self._seen.get(identity) != mark]
        if new:
            self._known = self._known | spec_values(self._store, new)
            self._seen |= {identity: marks[identity] for identity in new}
        return self._known
