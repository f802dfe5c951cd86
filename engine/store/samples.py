"""Samples: what the model of an experiment wrote, without what a later attempt superseded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sqlalchemy import select

from engine.store import schema
from engine.store.lineage import lineage
from engine.store.standing import require

if TYPE_CHECKING:
    from engine.store.database import Store

_columns = schema.samples.c


@dataclass(frozen=True, slots=True)
class Sample:
    """A text that the model wrote."""

    attempt: int
    step: int
    time: float  # seconds since the epoch
    prompt: str
    response: str
    reference: str | None
    scores: Mapping[str, float]  # may be NaN or infinite


def list_samples(store: Store, identity: str, step: int | None = None, *, newest: int | None = None) -> list[Sample]:
    """Return what the model wrote, at one step or at all, in the order of steps.

    newest: only so many, those of the last steps.

    Raises NotFound if there is no such experiment.
    """
    found = select(
        _columns.attempt,
        _columns.step,
        _columns.time,
        _columns.prompt,
        _columns.response,
        _columns.reference,
        _columns.scores,
    ).where(_columns.experiment_id == identity)
    if step is not None:
        found = found.where(_columns.step == step)
    with store.read() as connection:
        require(connection, identity)
        kept = lineage(connection, identity)
        order = (_columns.step, _columns.attempt, _columns.id)
        found = found.order_by(*(order if newest is None else [column.desc() for column in order]))
        counted = (row for row in connection.execute(found) if row.step <= kept.last_step(row.attempt))
        rows = list(islice(counted, newest))
    if newest is not None:
        rows.reverse()
    return [
        Sample(*row[:-1], scores={name: math.nan if score is None else float(score) for name, score in row[-1].items()})
        for row in rows
    ]
