"""`engine plan` of a pipeline: each of its stages, as far as what they take is made already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json
from engine.cli.plan import PLANNED, Page, page, show
from engine.cli.settings import Settings
from engine.errors import PlumblineError, Refused

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.spec.pipeline import Stage


def plan_stages(
    settings: Settings, file: Path, overrides: Sequence[str], hosts: Hostfile, gpu_memory: str | None
) -> int:
    """Print the plans of the stages of a pipeline file, and why some have none yet; return the exit code.

    Raises:
        InvalidInput, NotFound, Refused: if the pipeline is not valid, or what it takes from elsewhere is not there.
    """
    from engine.spec.pipeline import load_pipeline

    pipeline = load_pipeline(file, overrides)
    documents: dict[str, Any] = {}
    fits = True
    for stage in pipeline.stages:
        found = _planned(settings, stage, hosts, gpu_memory)
        if isinstance(found, Page):
            fits = fits and found.fits
        documents[stage.name] = found.document if isinstance(found, Page) else {"unplanned": found}
        if settings.json:
            continue
        click.echo(f"{stage.name}: {'' if isinstance(found, Page) else found}".rstrip())
        if isinstance(found, Page):
            show(settings, found)
        click.echo()
    if settings.json:
        print_json({"pipeline": pipeline.name, "fits": fits, "stages": documents})
    return 0 if fits else Refused.exit_code


def _planned(settings: Settings, stage: Stage, hosts: Hostfile, gpu_memory: str | None) -> Page | str:
    """Return the plan of a stage, or a sentence on why there is none."""
    from engine.dispatch.fitting import seats_and_place
    from engine.dispatch.readiness import looked_up
    from engine.spec.keys import listing
    from engine.spec.references import references_of

    if stage.spec is None:
        return f"{stage.experiment} has run already."
    if stage.spec.kind not in PLANNED:
        return f"experiments of kind {stage.spec.kind} are not planned."
    makers = [name for name in stage.parents if any(each.name == name for each in references_of(stage.spec).values())]
    if makers:
        what = f"{listing(makers, 'and')} {'has' if len(makers) == 1 else 'have'} made what it takes"
        return f"planned at its start, when {what}."
    spec, _ = looked_up(settings.records, stage.spec, hosts, where=stage.where)
    _, where = seats_and_place(spec, hosts, gpu_memory)
    try:
        return page(settings, spec, where, commands={})
    except PlumblineError as error:
        return f"not planned: {error}"
