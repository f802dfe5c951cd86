"""`engine launch`: record the intent, start the dispatcher, and wait if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import ExitCode, InvalidInput

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.records import Records
    from engine.spec.models import AnySpec
    from engine.store.pipelines import Launch


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--clone", metavar="EXP", help="In place of a file: the spec of this experiment, and where it ran.")
@click.option("--kind", metavar="KIND", help="In place of a file: a spec of this kind that --set says whole.")
@click.option("--hostfile", type=click.Path(path_type=Path), help="Where it runs (default: this machine, one slot).")
@click.option("--name", help="Name of the experiment, or of the pipeline.")
@click.option("--tag", "tags", multiple=True, help="A tag.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
@click.option("--only", multiple=True, metavar="STAGE", help="Of a pipeline, this stage, or a pattern of stages.")
@click.option("--skip", multiple=True, metavar="STAGE", help="Of a pipeline, not this stage: an earlier run counts.")
@click.option("--after", multiple=True, metavar="EXP", help="Start when this experiment has succeeded.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher ones begin first.")
@click.option("--gpu-memory", metavar="SIZE", help="Memory of one GPU, for the plan (see engine plan).")
@click.option("--force", is_flag=True, help="Launch also what its plan says cannot run.")
@click.option("--wait", is_flag=True, help="Wait until all have ended; the exit code is their outcome.")
@global_options
@pass_settings
def launch(
    settings: Settings,
    *,
    files: tuple[Path, ...],
    clone: str | None,
    kind: str | None,
    hostfile: Path | None,
    name: str | None,
    tags: tuple[str, ...],
    overrides: tuple[str, ...],
    only: tuple[str, ...],
    skip: tuple[str, ...],
    after: tuple[str, ...],
    priority: int,
    gpu_memory: str | None,
    force: bool,
    wait: bool,
) -> int:
    """Queue the specs, or the pipeline, FILE… as experiments and print their ids. --clone EXP: one again, changed."""
    from engine.cluster.hostfile import load_hostfile
    from engine.dispatch.launching import pipeline_made_ready, queue, queue_pipeline
    from engine.dispatch.lifecycle import ensure_running
    from engine.dispatch.readiness import Grounds, made_ready
    from engine.spec.pipeline import load_pipeline, names_pipeline
    from engine.store import experiments

    if bool(files) + (clone is not None) + (kind is not None) != 1:
        raise click.UsageError("name FILE…, or --clone EXP, or --kind KIND.")
    records = settings.records
    parents = [experiments.resolve(records.store(), reference) for reference in after]
    hosts = load_hostfile(hostfile) if hostfile is not None else None
    launched: Launch | None = None
    if any(names_pipeline(file) for file in files):
        if len(files) > 1:
            raise InvalidInput("a pipeline is launched by itself, not beside other files.", where=str(files[0]))
        grounds = Grounds(hosts, parents, gpu_memory, force)
        pipeline = load_pipeline(files[0], overrides, name=name)
        prepared = pipeline_made_ready(records, pipeline, grounds, only=only, skip=skip)
        launched = queue_pipeline(records, prepared, grounds, tags=tags, priority=priority)
        ids = list(launched.stages.values())
    else:
        if only or skip:
            raise InvalidInput("--only and --skip name stages of a pipeline.", where=_source(files, clone, kind))
        if kind is not None:
            parent_id, specs = None, [_new(kind, overrides)]
        else:
            parent_id, specs, hosts = _specs(records, files, clone, overrides, hosts)
        grounds = Grounds(hosts, parents, gpu_memory, force)
        # If one cannot run, none is queued.
        ready = [made_ready(records, spec, grounds, where=where) for where, spec in specs]
        ids = queue(records, ready, grounds, name=name, tags=tags, priority=priority, parent_id=parent_id)
    ensure_running(settings.database)
    if wait:
        return _waited(settings, ids, launched)
    if settings.json:
        stages = {} if launched is None else {identity: stage for stage, identity in launched.stages.items()}
        of = {} if launched is None else {"pipeline": str(launched)}
        print_json([{"id": each} | ({"stage": stages[each]} if each in stages else {}) | of for each in ids])
        return 0
    click.echo("\n".join(ids))
    followed = " ".join(ids) if launched is None else str(launched)
    say(settings, f"engine watch {followed} follows; plumbline shows all.")
    return 0


def _source(files: tuple[Path, ...], clone: str | None, kind: str | None) -> str:
    return str(files[0]) if files else clone or f"--kind {kind}"


def _new(kind: str, overrides: tuple[str, ...]) -> tuple[str, AnySpec]:
    """Return what errors call it, and the spec that settings alone make. Paths are relative to the working folder."""
    from engine.spec.loading import spec_of_kind
    from engine.spec.resolve import with_absolute_paths

    return f"--kind {kind}", with_absolute_paths(spec_of_kind(kind, overrides), Path.cwd())


def _specs(
    records: Records, files: tuple[Path, ...], clone: str | None, overrides: tuple[str, ...], hosts: Hostfile | None
) -> tuple[str | None, list[tuple[str, AnySpec]], Hostfile | None]:
    """Return the experiment that is cloned, the specs with what errors call them, and where they run."""
    from engine.dispatch.cloning import clone_of
    from engine.spec.loading import load_spec
    from engine.spec.resolve import with_absolute_paths
    from engine.store import experiments

    if clone is None:
        read = [(file, load_spec(file, overrides)) for file in files]
        return None, [(str(file), with_absolute_paths(spec, file.resolve().parent)) for file, spec in read], hosts
    store = records.store()
    found = clone_of(store, experiments.resolve(store, clone))
    return found.id, [(found.id, found.spec(overrides))], hosts or found.hosts


def _waited(settings: Settings, ids: list[str], launched: Launch | None) -> int:
    """Wait until all have ended, and return their outcome."""
    from engine.cli.watch import watch_until_ended

    if not settings.json:
        click.echo("\n".join(ids))
    code = watch_until_ended(settings, settings.open_store(), ids)
    if launched is not None and code not in (ExitCode.DONE, ExitCode.INTERRUPTED):
        say(settings, f"engine resume {launched} goes on with what has not succeeded.")
    return code
