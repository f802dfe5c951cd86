"""An experiment as it stands, and how it is read from the database."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Text, func, select, true, type_coerce

from engine.store import schema
from engine.telemetry.states import Desired, State

_table = schema.experiments
_NOT_LISTED = ("spec", "spec_values", "hostfile_text")  # columns that only one experiment is asked for


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it stands. Times are seconds since the epoch, UTC."""

    id: str
    name: str
    kind: str
    spec_hash: str
    state: State
    desired: Desired
    reason: str | None  # why it waits, failed or is lost
    exit_code: int | None
    step: int
    total_steps: int | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    archived_at: float | None
    heard_at: float | None  # when a fact or heartbeat last came from its nodes
    parent_id: str | None
    hostfile: str | None  # null: this machine alone
    note: str | None
    queued_at: float | None  # when it was queued by a person, if that was after it was created
    priority: int  # higher first
    not_before: float | None  # a queued one waits until then, after a fault
    faults: int  # of nodes and links, since it last got on
    forced: bool  # it begins also where its plan says that it cannot run
    code: str | None  # SHA-256 of the snapshot of our code that runs it; null: what the nodes have
    pinned_at: float | None
    attempts: int
    hosts: tuple[str, ...]  # of the last attempt, by node; empty before the first one
    tags: tuple[str, ...]
    last: Mapping[str, float]  # last value of each metric; may be NaN
    best: Mapping[str, float] = field(default_factory=dict)  # of those metrics that were asked for; see bests.py

    @property
    def nodes(self) -> int | None:
        """Nodes of the last attempt; null before the first one."""
        return len(self.hosts) if self.attempts else None

    @property
    def progress(self) -> float | None:
        """Share of the steps that are done, from 0 to 1; null while their number is not known."""
        return min(1.0, self.step / self.total_steps) if self.total_steps else None


def read(connection: Connection, condition: ColumnElement[bool] | None) -> list[Experiment]:
    """Return experiments, newest first, by three statements."""
    chosen = true() if condition is None else condition
    tags: dict[str, list[str]] = {}
    tag = schema.tags.c
    tagged = select(tag.experiment_id, tag.tag).join(_table).where(chosen).order_by(tag.experiment_id, tag.tag)
    for identity, word in connection.execute(tagged):
        tags.setdefault(identity, []).append(word)
    last: dict[str, dict[str, float]] = {}
    series = schema.series.c
    measured = select(series.experiment_id, series.name, series.last_value).join(_table)
    measured = measured.where(chosen, series.last_step.is_not(None)).order_by(series.id)
    for identity, name, value in connection.execute(measured):
        last.setdefault(identity, {})[name] = math.nan if value is None else value
    return [
        from_row(row, tuple(tags.get(row.id, ())), last.get(row.id, {}))
        for row in connection.execute(query().where(chosen))
    ]


@lru_cache(maxsize=1)
def query() -> Select[Any]:
    attempt = schema.attempts.c
    own = attempt.experiment_id == _table.c.id
    # Looked up by the key of attempts: to group all of them costs the more, the fewer experiments are asked for.
    count = select(func.max(attempt.number)).where(own).scalar_subquery()
    placement = select(type_coerce(attempt.placement, Text)).where(own).order_by(attempt.number.desc()).limit(1)
    columns = [column for column in _table.c if column.name not in _NOT_LISTED]
    return select(*columns, count.label("attempts"), placement.scalar_subquery().label("placement")).order_by(
        _table.c.created_at.desc(), _table.c.id.desc()
    )


def from_row(row: Row[Any], tags: Sequence[str], last: Mapping[str, float]) -> Experiment:
    values = dict(row._mapping)
    values["state"], values["desired"] = State(values["state"]), Desired(values["desired"])
    values["attempts"], values["forced"] = values["attempts"] or 0, bool(values["forced"])
    return Experiment(hosts=_hosts(values.pop("placement")), tags=tuple(tags), last=last, **values)


@lru_cache(maxsize=256)
def _hosts(placement: str | None) -> tuple[str, ...]:
    """Return the hosts of a placement, as it stands in the database."""
    return () if placement is None else tuple(node["host"] for node in json.loads(placement))
