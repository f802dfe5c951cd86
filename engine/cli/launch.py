"""`engine launch`: record the intent, start the dispatcher, and wait if asked to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.inputs import look_up_references, pin_references
from engine.cli.output import print_json, say
from engine.cli.planning import refuse_what_cannot_run
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.inputs import Input


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--hostfile", type=click.Path(path_type=Path), help="Where it runs (default: this machine, one slot).")
@click.option("--name", help="Name of the experiment.")
@click.option("--tag", "tags", multiple=True, help="A tag.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
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
    after: tuple[str, ...],
    priority: int,
    gpu_memory: str | None,
    force: bool,
    wait: bool,
) -> int:
    """Queue the specs FILE… as experiments and print their ids."""
    from engine.cluster.hostfile import load_hostfile, local_hostfile
    from engine.cluster.snapshot import take_snapshot
    from engine.dispatch.inputs import made_elsewhere
    from engine.dispatch.lifecycle import ensure_running
    from engine.spec.loading import load_spec
    from engine.spec.resolve import input_paths, with_absolute_paths
    from engine.store import experiments

    specs: list[tuple[AnySpec, list[Input], list[str]]] = []
    parents = [experiments.resolve(settings.open_store(), reference) for reference in after]
    hosts = load_hostfile(hostfile) if hostfile is not None else None
    for file in files:
        spec = with_absolute_paths(load_spec(file, overrides), file.resolve().parent)
        spec, awaited = pin_references(settings, spec, parents, str(file))
        if awaited:
            # What they will have made is looked up, and the plan made, when they have.
            specs.append((spec, [], awaited))
            continue
        spec, inputs = look_up_references(settings, spec, hosts or local_hostfile(), str(file))
        if hosts is None:
            brought = made_elsewhere(settings.open_store(), inputs) if inputs else set()
            missing = [str(path) for path in input_paths(spec) if str(path) not in brought and not path.exists()]
            if missing:
                raise Refused(f"needs {', '.join(missing)}, which is not there.", where=str(file))
        if not force:
            refuse_what_cannot_run(settings, spec, hosts or local_hostfile(), where=str(file), gpu_memory=gpu_memory)
        specs.append((spec, inputs, []))

    store = settings.open_store(create=True)
    code = take_snapshot(store.objects_dir).sha256
    ids = [
        experiments.create(
            store,
            spec,
            name=name,
            tags=tags,
            hostfile=str(hosts.path) if hosts is not None and hosts.path is not None else None,
            hostfile_text=hosts.text if hosts is not None else None,
            after=[*parents, *awaited],
            inputs=inputs,
            priority=priority,
            forced=force,
            code=code,
        )
        for spec, inputs, awaited in specs
    ]
    ensure_running(settings.database)
    if wait:
        from engine.cli.watch import watch_until_ended

        if not settings.json:
            click.echo("\n".join(ids))
        return watch_until_ended(settings, store, ids)
    if settings.json:
        print_json([{"id": identity} for identity in ids])
    else:
        click.echo("\n".join(ids))
        say(settings, f"engine watch {' '.join(ids)} follows; plumbline shows all.")
    return 0
