"""Stages of a pipeline that are not launched anew: earlier experiments stand for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from engine.errors import Refused
from engine.store import experiments, pipelines

if TYPE_CHECKING:
    from engine.spec.pipeline import Pipeline, Stage
    from engine.store.database import Store


def earlier_stages(store: Store, pipeline: Pipeline, chosen: Sequence[Stage]) -> dict[str, str]:
    """Return the ids of the experiments that stand for stages which are not launched, by stage.

    What the chosen ones take comes from one earlier launch, the newest that has all of it, so that what was made of
    one model is not mixed with what was made of another. With it come the other stages of that launch which do not
    depend on what is launched anew: all together are the pipeline. Where no launch has all of it, each stage is the
    newest experiment of its name.

    Args:
        store: where they are looked up.
        pipeline: all its stages.
        chosen: those that are launched.

    Raises:
        NotFound, Refused: if nothing stands for a stage that a chosen one takes from.
    """
    names = {stage.name for stage in chosen}
    given = {stage.name: _given(store, stage, stage.experiment) for stage in pipeline.stages if stage.experiment}
    left = [stage for stage in pipeline.stages if stage.name not in names and stage.name not in given]
    needed = [stage.name for stage in left if any(stage.name in each.parents for each in chosen)]
    for launch in pipelines.launches(store, pipeline.name):
        usable = {
            stage.name: launch.stages[stage.name]
            for stage in left
            if stage.name in launch.stages and not experiments.get(store, launch.stages[stage.name]).state.ended_badly
        }
        if usable.keys() >= set(needed):
            anew = _depending(pipeline, names)
            return given | {name: found for name, found in usable.items() if name in needed or name not in anew}
    by_name = {}
    for name in needed:
        called = pipeline.experiment_name(name)
        found = pipelines.earlier(store, called)
        if found is None:
            taker = next(stage.name for stage in chosen if name in stage.parents)
            raise Refused(
                f"stage {taker} takes from {name}, which is not launched, and no {called} has succeeded before.",
                hint=f"Launch {name}, too.",
                where=pipeline.source,
            )
        by_name[name] = found
    return given | by_name


def _given(store: Store, stage: Stage, reference: str) -> str:
    found = pipelines.earlier(store, reference)
    if found is None:
        identity = experiments.resolve(store, reference)
        told = f"stage {stage.name} is experiment {reference}, which has not succeeded or is archived."
        raise Refused(told, hint=f"engine show {identity} tells more.", where=stage.where)
    return found


def _depending(pipeline: Pipeline, names: Collection[str]) -> set[str]:
    """Return stages, and all that come after them."""
    found = set(names)
    for stage in pipeline.stages:
        if not found.isdisjoint(stage.parents):
            found.add(stage.name)
    return found
