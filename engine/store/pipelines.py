"""Pipelines: experiments that were launched together, one a stage.

Tags say so: `pipeline:NAME` and `pipeline:NAME/N`, of which N is the number of the launch, and `stage:STAGE`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, literal_column, or_, select

from engine.store import experiments, schema
from engine.store.bookkeeping import insert_tags
from engine.store.inputs import Input
from engine.store.numbers import next_number
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store

_experiments = schema.experiments.c
_tags = schema.tags.c
_PIPELINE, _STAGE = "pipeline:", "stage:"
# Experiments in the order in which they were queued: parents first.
_ROW: ColumnElement[int] = literal_column("experiments.rowid")


@dataclass(frozen=True, slots=True)
class Draft:
    """A stage that is to be queued."""

    stage: str
    spec: AnySpec  # its references to other stages of the launch are by their names
    parents: Sequence[str] = ()  # stages of the launch that it takes from or comes after
    after: Sequence[str] = ()  # ids of other experiments that it comes after
    inputs: Sequence[Input] = ()  # what it takes from others, as far as that is known


@dataclass(frozen=True, slots=True)
class Launch:
    """What one launch of a pipeline is made of."""

    pipeline: str
    number: int  # 1, 2, …
    stages: Mapping[str, str]  # ids of experiments by stage, in the order in which they were queued: parents first

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.number}"


def create(
    store: Store,
    pipeline: str,
    drafts: Iterable[Draft],
    *,
    taken: Mapping[str, str] | None = None,
    tags: Collection[str] = (),
    hostfile: str | None = None,
    hostfile_text: str | None = None,
    priority: int = 0,
    forced: bool = False,
    code: str | None = None,
) -> Launch:
    """Queue the stages of a pipeline, all or none of them.

    Args:
        store: where.
        pipeline: its name; the experiment of a stage is called PIPELINE-STAGE.
        drafts: the stages, parents first.
        taken: stages that earlier experiments stand for, by id; these belong to the launch, too.
        tags: for people, beside those that mark the launch.
        hostfile, hostfile_text, priority, forced, code: see `experiments.create`.
    """
    from engine.spec.references import references_of, with_paths

    with store.write() as connection:
        number = next_number(connection, f"{_PIPELINE}{pipeline}")
        marks = (f"{_PIPELINE}{pipeline}", f"{_PIPELINE}{pipeline}/{number}")
        ids = dict(taken or {})
        for stage, identity in ids.items():
            insert_tags(connection, identity, (*marks, f"{_STAGE}{stage}"))
        for draft in drafts:
            made = {one.text: one.of(ids[one.name]) for one in references_of(draft.spec).values() if one.name in ids}
            ids[draft.stage] = experiments.add(
                connection,
                with_paths(draft.spec, made),
                name=f"{pipeline}-{draft.stage}",
                tags=(*marks, f"{_STAGE}{draft.stage}", *tags),
                hostfile=hostfile,
                hostfile_text=hostfile_text,
                after=[*(ids[parent] for parent in draft.parents), *draft.after],
                inputs=draft.inputs,
                priority=priority,
                forced=forced,
                code=code,
            )
        return Launch(pipeline, number, ids)


def find(store: Store, reference: str) -> Launch | None:
    """Return the newest launch of the pipeline of this name, or, for NAME/N, that one; null if there is none."""
    pipeline, slash, number = reference.partition("/")
    found = launches(store, pipeline)
    return next((each for each in found if not slash or number == str(each.number)), None)


def launches(store: Store, pipeline: str) -> list[Launch]:
    """Return the launches of a pipeline that something is left of, newest first.

    Archived experiments are no part of them. Where several experiments stand for one stage, as a person may have tagged
    them, the newest counts.
    """
    prefix = f"{_PIPELINE}{pipeline}/"
    tagged = (
        select(_tags.experiment_id, _tags.tag)
        .join(schema.experiments, _tags.experiment_id == _experiments.id)
        .where(
            _experiments.archived_at.is_(None),
            or_(_tags.tag.startswith(prefix, autoescape=True), _tags.tag.startswith(_STAGE, autoescape=True)),
        )
    )
    with store.read() as connection:
        rows = connection.execute(tagged.order_by(_ROW, _tags.tag)).all()
    stages: dict[str, list[str]] = {}
    for identity, tag in rows:
        if tag.startswith(_STAGE):
            stages.setdefault(identity, []).append(tag.removeprefix(_STAGE))
    found: dict[int, dict[str, str]] = {}
    for identity, tag in rows:
        number = tag.removeprefix(prefix)
        if not tag.startswith(_STAGE) and number.isascii() and number.isdigit():
            found.setdefault(int(number), {}).update(dict.fromkeys(stages.get(identity, ()), identity))
    return [Launch(pipeline, number, found[number]) for number in sorted(found, reverse=True)]


def meant(store: Store, reference: str) -> list[str]:
    """Return the one experiment that a reference means, or all stages of the launch of a pipeline, parents first.

    Raises:
        NotFound, InvalidInput: as `experiments.resolve` does.
    """
    launch = launch_meant(store, reference)
    return [experiments.resolve(store, reference)] if launch is None else list(launch.stages.values())


def launch_meant(store: Store, reference: str) -> Launch | None:
    """Return what `find` does, unless an experiment has this very name or id."""
    with store.read() as connection:
        exact = or_(_experiments.id == reference, _experiments.name == reference)
        is_one = connection.execute(select(_experiments.id).where(exact)).first() is not None
    return None if is_one else find(store, reference)


def earlier(store: Store, reference: str) -> str | None:
    """Return the newest experiment of a name or id that has succeeded, or else the newest that has not ended.

    Archived ones do not count.
    """
    named = select(_experiments.id, _experiments.state).where(
        or_(_experiments.name == reference, _experiments.id == reference), _experiments.archived_at.is_(None)
    )
    with store.read() as connection:
        rows = connection.execute(named.order_by(_ROW.desc())).all()
    succeeded = [row.id for row in rows if row.state == State.SUCCEEDED]
    unfinished = [row.id for row in rows if not State(row.state).ended]
    return next(iter([*succeeded, *unfinished]), None)
