"""The best values that metrics ever had: the least or the most, as the direction of each says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from engine.store import schema
from engine.store.lineage import Lineage, lineages, spans
from engine.telemetry.directions import direction_of

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment

_table = schema.series.c
_AT_ONCE = 500  # experiments of one statement
_LARGEST = sys.float_info.max


class Bests:
    """Reads them again and again; only of experiments that got on. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # By experiment and metric: where the experiment stood when it was read, and the best value.
        self._known: dict[tuple[str, str], tuple[object, float | None]] = {}

    def into(self, experiments: Sequence[Experiment], names: Sequence[str]) -> list[Experiment]:
        """Return the experiments with the best values of these metrics; without that of one that has no better."""
        told = [name for name in names if direction_of(name)]
        for name in told:
            marks = {one.id: _mark(one, name) for one in experiments if name in one.last}
            moved = [one for one, mark in marks.items() if self._known.get((one, name), (None,))[0] != mark]
            if moved:
                found = bests(self._store, moved, name)
                self._known |= {(one, name): (marks[one], found.get(one)) for one in moved}
        return [replace(one, best=self._of(one, told)) for one in experiments] if told else list(experiments)

    def _of(self, one: Experiment, names: Sequence[str]) -> dict[str, float]:
        values = {name: self._known[one.id, name][1] for name in names if name in one.last}
        return {name: value for name, value in values.items() if value is not None}


def bests(store: Store, ids: Sequence[str], name: str) -> dict[str, float]:
    """Return the best finite value of a metric by experiment; what a later attempt superseded does not count."""
    function = "max" if direction_of(name) > 0 else "min"
    found: dict[str, float] = {}
    with store.read() as connection:
        kept = lineages(connection, ids)
        for at in range(0, len(ids), _AT_ONCE):
            chosen = select(_table.experiment_id, _table.id).where(
                _table.name == name, _table.experiment_id.in_(ids[at : at + _AT_ONCE])
            )
            for identity, series_id in connection.execute(chosen).all():
                value = _best(connection, series_id, kept[identity], function)
                if value is not None:
                    found[identity] = value
    return found


def _best(connection: Connection, series_id: int, kept: Lineage, function: str) -> float | None:
    values = [
        connection.exec_driver_sql(
            f"SELECT {function}(value) FROM points"
            " WHERE series_id = ? AND attempt = ? AND step > ? AND step <= ? AND abs(value) <= ?",
            (series_id, span.attempt, span.after, span.last, _LARGEST),
        ).scalar()
        for span in spans(connection, series_id, kept)
    ]
    there = [float(value) for value in values if value is not None]
    if not there:
        return None
    return max(there) if function == "max" else min(there)


def _mark(one: Experiment, name: str) -> object:
    return one.step, one.attempts, one.state, repr(one.last[name])  # two NaN are one mark
