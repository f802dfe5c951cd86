"""Which facts count: those that no later attempt superseded.

An attempt that resumed at step r does all steps past r again. What earlier attempts logged past r stays in the tables,
and is not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from engine.store import schema

NEVER = 2**63 - 1  # a step that no attempt reaches

_ATTEMPTS = """
WITH RECURSIVE found(attempt) AS (
    SELECT min(attempt) FROM points WHERE series_id = :series AND attempt >= :first
    UNION ALL
    SELECT (SELECT min(attempt) FROM points WHERE series_id = :series AND attempt > found.attempt)
    FROM found WHERE found.attempt IS NOT NULL
)
SELECT attempt FROM found WHERE attempt IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Span:
    """The points of one attempt that count: `after < step <= last`; there is one at `last`."""

    attempt: int
    after: int
    last: int


@dataclass(frozen=True, slots=True)
class Lineage:
    """The attempts of an experiment that began to train, as (number, resumed step), in order."""

    resumed: Sequence[tuple[int, int]] = ()

    @property
    def resumed_step(self) -> int:
        """The step at which the newest attempt began."""
        return self.resumed[-1][1] if self.resumed else 0

    def last_step(self, attempt: int) -> int:
        """Return the last step of an attempt that no later one does again."""
        return min((step for number, step in self.resumed if number > attempt), default=NEVER)


def lineages(connection: Connection, ids: Sequence[str]) -> Mapping[str, Lineage]:
    """Return the lineages of experiments by id."""
    table = schema.attempts.c
    found = select(table.experiment_id, table.number, table.resumed_step).where(table.resumed_step.is_not(None))
    resumed: dict[str, list[tuple[int, int]]] = {identity: [] for identity in ids}
    for at in range(0, len(ids), 1000):
        chosen = found.where(table.experiment_id.in_(ids[at : at + 1000])).order_by(table.number)
        for identity, number, step in connection.execute(chosen):
            resumed[identity].append((number, step))
    return {identity: Lineage(steps) for identity, steps in resumed.items()}


def lineage(connection: Connection, identity: str) -> Lineage:
    """Return the lineage of one experiment."""
    found = connection.exec_driver_sql(
        "SELECT number, resumed_step FROM attempts WHERE experiment_id = ? AND resumed_step IS NOT NULL"
        " ORDER BY number",
        (identity,),
    )
    return Lineage([(number, step) for number, step in found])


def spans(
    connection: Connection, series_id: int, kept: Lineage, after: tuple[int, int] | None = None
) -> Iterator[Span]:
    """Yield the spans of a series, in the order of attempts: their steps ascend throughout.

    after: (attempt, step) of a point; only what comes after it.
    """
    first, step = after if after is not None else (-1, -1)
    attempts = connection.exec_driver_sql(_ATTEMPTS, {"series": series_id, "first": first}).scalars().all()
    for attempt in attempts:
        last = connection.exec_driver_sql(
            "SELECT max(step) FROM points WHERE series_id = ? AND attempt = ? AND step > ? AND step <= ?",
            (series_id, attempt, step, kept.last_step(attempt)),
        ).scalar()
        if last is not None:
            yield Span(attempt, step, last)
            step = last
