"""`engine launch`: record the intent, start the dispatcher, and wait if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.readiness import Grounds, made_ready
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import ExitCode, InvalidInput

if TYPE_CHECKING:
    from engine.store.pipelines import Launch


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
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
    """Queue the specs, or the pipeline, FILE… as experiments and print their ids."""
    from engine.cli.pipelines import launch_pipeline
    from engine.cluster.hostfile import load_hostfile
    from engine.dispatch.lifecycle import ensure_running
    from engine.spec.pipeline import names_pipeline
    from engine.store import experiments

    parents = [experiments.resolve(settings.open_store(), reference) for reference in after]
    hosts = load_hostfile(hostfile) if hostfile is not None else None
    grounds = Grounds(hosts, parents, gpu_memory, force)
    launched: Launch | None = None
    if any(names_pipeline(file) for file in files):
        if len(files) > 1:
            raise InvalidInput("a pipeline is launched by itself, not beside other files.", where=str(files[0]))
        launched = launch_pipeline(
            settings,
            files[0],
            grounds,
            overrides=overrides,
            name=name,
            only=only,
            skip=skip,
            tags=tags,
            priority=priority,
        )
        ids = list(launched.stages.values())
    else:
        if only or skip:
            raise InvalidInput("--only and --skip name stages of a pipeline.", where=str(files[0]))
        ids = _queued(settings, files, grounds, name=name, tags=tags, overrides=overrides, priority=priority)
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


def _queued(
    settings: Settings,
    files: tuple[Path, ...],
    grounds: Grounds,
    *,
    name: str | None,
    tags: tuple[str, ...],
    overrides: tuple[str, ...],
    priority: int,
) -> list[str]:
    """Queue an experiment for each file, and return their ids. If one cannot run, none is queued."""
    from engine.cluster.snapshot import take_snapshot
    from engine.spec.loading import load_spec
    from engine.spec.resolve import with_absolute_paths
    from engine.store import experiments

    ready = []
    for file in files:
        spec = with_absolute_paths(load_spec(file, overrides), file.resolve().parent)
        ready.append(made_ready(settings, spec, grounds, where=str(file)))
    store = settings.open_store(create=True)
    code = take_snapshot(store.objects_dir).sha256
    hosts = grounds.hosts
    return [
        experiments.create(
            store,
            each.spec,
            name=name,
            tags=tags,
            hostfile=str(hosts.path) if hosts is not None and hosts.path is not None else None,
            hostfile_text=hosts.text if hosts is not None else None,
            after=[*grounds.after, *each.awaited],
            inputs=each.inputs,
            priority=priority,
            forced=grounds.force,
            code=code,
        )
        for each in ready
    ]


def _waited(settings: Settings, ids: list[str], launched: Launch | None) -> int:
    """Wait until all have ended, and return their outcome."""
    from engine.cli.watch import watch_until_ended

    if not settings.json:
        click.echo("\n".join(ids))
    code = watch_until_ended(settings, settings.open_store(), ids)
    if launched is not None and code not in (ExitCode.DONE, ExitCode.INTERRUPTED):
        say(settings, f"engine resume {launched} goes on with what has not succeeded.")
    return code
