"""Queueing what a person launches: specs, the stages of a pipeline. The dispatcher is not started here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from engine.dispatch.readiness import Grounds, Ready, made_ready
from engine.errors import PlumblineError

if TYPE_CHECKING:
    from engine.dispatch.records import Records
    from engine.spec.pipeline import Pipeline, Stage
    from engine.store.pipelines import Draft, Launch


@dataclass(frozen=True, slots=True)
class ReadyPipeline:
    """A pipeline whose stages may be queued."""

    pipeline: Pipeline
    stages: Mapping[str, Ready]  # those that are launched, parents first
    drafts: Sequence[Draft]  # the same, as they are queued
    taken: Mapping[str, str]  # ids of the experiments that stand for the others


class _Shared(TypedDict):
    """How everything of one launch is queued."""

    hostfile: str | None
    hostfile_text: str | None
    forced: bool
    code: str | None


def queue(
    records: Records,
    ready: Sequence[Ready],
    grounds: Grounds,
    *,
    name: str | None = None,
    tags: Sequence[str] = (),
    priority: int = 0,
    parent_id: str | None = None,
) -> list[str]:
    """Queue an experiment for each of these, and return their ids.

    Args:
        records: the database; it is made if there is none.
        ready: what is launched.
        grounds: where and how.
        name: of all of them; null: as their specs say.
        tags: for people.
        priority: higher first.
        parent_id: the experiment that they are made from.
    """
    from engine.store import experiments

    store = records.store(create=True)
    shared = _shared(records, grounds)
    return [
        experiments.create(
            store,
            each.spec,
            name=name,
            tags=tags,
            after=[*grounds.after, *each.awaited],
            inputs=each.inputs,
            priority=priority,
            parent_id=parent_id,
            **shared,
        )
        for each in ready
    ]


def queue_pipeline(
    records: Records, ready: ReadyPipeline, grounds: Grounds, *, tags: Sequence[str] = (), priority: int = 0
) -> Launch:
    """Queue the stages of a pipeline, all or none. Arguments as of `queue`."""
    from engine.store import pipelines

    store = records.store(create=True)
    return pipelines.create(
        store,
        ready.pipeline.name,
        ready.drafts,
        taken=ready.taken,
        tags=tags,
        priority=priority,
        **_shared(records, grounds),
    )


def pipeline_made_ready(
    records: Records, pipeline: Pipeline, grounds: Grounds, *, only: Sequence[str] = (), skip: Sequence[str] = ()
) -> ReadyPipeline:
    """Return what is to be queued.

    Args:
        records: the database.
        pipeline: all its stages.
        grounds: where and how it is launched.
        only, skip: which stages are launched, by name or pattern; earlier runs stand for the others.

    Raises:
        InvalidInput, NotFound, Refused: if a stage cannot run.
    """
    chosen = pipeline.chosen(only, skip)
    names = {stage.name for stage in chosen}
    taken = _taken(records, pipeline, chosen)
    stages: dict[str, Ready] = {}
    drafts = []
    for stage in chosen:
        stages[stage.name], draft = _draft(records, stage, grounds, taken, names)
        drafts.append(draft)
    return ReadyPipeline(pipeline, stages, drafts, taken)


def _shared(records: Records, grounds: Grounds) -> _Shared:
    from engine.cluster.snapshot import take_snapshot

    hosts = grounds.hosts
    return {
        "hostfile": str(hosts.path) if hosts is not None and hosts.path is not None else None,
        "hostfile_text": hosts.text if hosts is not None else None,
        "forced": grounds.force,
        "code": take_snapshot(records.store().objects_dir).sha256,
    }


def _taken(records: Records, pipeline: Pipeline, chosen: Sequence[Stage]) -> dict[str, str]:
    """Return the ids of the experiments that stand for stages which are not launched; say so."""
    from engine.dispatch.earlier_stages import earlier_stages

    names = {stage.name for stage in chosen}
    if not records.exists and all(names.issuperset(stage.parents) for stage in chosen):
        return {}
    taken = earlier_stages(records.store(), pipeline, chosen) if len(names) < len(pipeline.stages) else {}
    for stage, identity in taken.items():
        records.tell(f"{stage} is {identity}, which was launched before.")
    return taken


def _draft(
    records: Records, stage: Stage, grounds: Grounds, taken: dict[str, str], chosen: set[str]
) -> tuple[Ready, Draft]:
    """Return a stage that may be queued."""
    from engine.spec.references import references_of, with_paths
    from engine.store.pipelines import Draft

    assert stage.spec is not None
    pinned = {one.text: one.of(taken[one.name]) for one in references_of(stage.spec).values() if one.name in taken}
    try:
        ready = made_ready(records, with_paths(stage.spec, pinned), grounds, where=stage.where, coming=chosen)
    except PlumblineError as error:
        error.message = f"stage {stage.name}: {error.message}"
        raise
    parents = [parent for parent in stage.parents if parent in chosen]
    after = [*grounds.after, *(taken[parent] for parent in stage.parents if parent in taken), *ready.awaited]
    return ready, Draft(stage.name, ready.spec, parents, after, ready.inputs)
