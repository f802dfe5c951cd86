"""Pipelines, for the commands that launch and plan them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.output import say
from engine.cli.readiness import Grounds, made_ready
from engine.cli.settings import Settings
from engine.errors import PlumblineError

if TYPE_CHECKING:
    from engine.spec.pipeline import Pipeline, Stage
    from engine.store.pipelines import Draft, Launch


def launch_pipeline(
    settings: Settings,
    file: Path,
    grounds: Grounds,
    *,
    overrides: Sequence[str] = (),
    name: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    tags: Sequence[str] = (),
    priority: int = 0,
) -> Launch:
    """Queue the stages of a pipeline file, all or none. The dispatcher is not started.

    Args:
        settings: with the database.
        file: the pipeline.
        grounds: where and how it is launched.
        overrides: STAGE.KEY=VALUE, or KEY=VALUE for all stages that have this key.
        name: of the pipeline; null: as the file says.
        only, skip: which stages are launched, by name or pattern; earlier runs stand for the others.
        tags: for people.
        priority: higher first.

    Raises:
        InvalidInput, NotFound, Refused: if a stage cannot run; then none is queued.
    """
    from engine.cluster.snapshot import take_snapshot
    from engine.spec.pipeline import load_pipeline
    from engine.store import pipelines

    pipeline = load_pipeline(file, overrides, name=name)
    chosen = pipeline.chosen(only, skip)
    taken = _taken(settings, pipeline, chosen)
    drafts = [_draft(settings, stage, grounds, taken, {each.name for each in chosen}) for stage in chosen]
    store = settings.open_store(create=True)
    hosts = grounds.hosts
    return pipelines.create(
        store,
        pipeline.name,
        drafts,
        taken=taken,
        tags=tags,
        hostfile=str(hosts.path) if hosts is not None and hosts.path is not None else None,
        hostfile_text=hosts.text if hosts is not None else None,
        priority=priority,
        forced=grounds.force,
        code=take_snapshot(store.objects_dir).sha256,
    )


def _taken(settings: Settings, pipeline: Pipeline, chosen: Sequence[Stage]) -> dict[str, str]:
    """Return the ids of the experiments that stand for stages which are not launched; say so."""
    from engine.dispatch.earlier_stages import earlier_stages

    names = {stage.name for stage in chosen}
    if not settings.database.exists() and all(names.issuperset(stage.parents) for stage in chosen):
        return {}
    taken = earlier_stages(settings.open_store(), pipeline, chosen) if len(names) < len(pipeline.stages) else {}
    for stage, identity in taken.items():
        say(settings, f"{stage} is {identity}, which was launched before.")
    return taken


def _draft(settings: Settings, stage: Stage, grounds: Grounds, taken: dict[str, str], chosen: set[str]) -> Draft:
    """Return a stage that may be queued."""
    from engine.spec.references import references_of, with_paths
    from engine.store.pipelines import Draft

    assert stage.spec is not None
    pinned = {one.text: one.of(taken[one.name]) for one in references_of(stage.spec).values() if one.name in taken}
    try:
        ready = made_ready(settings, with_paths(stage.spec, pinned), grounds, where=stage.where, coming=chosen)
    except PlumblineError as error:
        error.message = f"stage {stage.name}: {error.message}"
        raise
    parents = [parent for parent in stage.parents if parent in chosen]
    after = [*grounds.after, *(taken[parent] for parent in stage.parents if parent in taken), *ready.awaited]
    return Draft(stage.name, ready.spec, parents, after, ready.inputs)
