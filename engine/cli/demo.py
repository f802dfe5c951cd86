"""`engine demo`: a small cluster on this machine, the whole pipeline over SSH, the UI open on it, and the report."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import duration, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import ExitCode, NotFound, RunFailed

if TYPE_CHECKING:
    from engine.report.tables import Grid
    from engine.store.database import Store


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
@click.option(
    "--recipe", type=click.Path(path_type=Path), default=Path("recipes/facts/pipeline.yaml"), show_default=True
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of world and runs.")
@click.option("--nodes", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--set", "overrides", multiple=True, metavar="STAGE.KEY=VALUE", help="Set a key of a stage.")
@click.option("--headless", is_flag=True, help="No UI, also on a terminal.")
@global_options
@pass_settings
def demo(
    settings: Settings,
    *,
    folder: Path,
    recipe: Path,
    seed: int,
    nodes: int,
    overrides: tuple[str, ...],
    headless: bool,
) -> int:
    """Run the pipeline of the fact world over SSH, and see how much less its model hallucinates."""
    from engine.cli.watch import Lines, watch_until_ended
    from engine.cluster.hostfile import load_hostfile, parse_hostfile
    from engine.data.facts.files import write
    from engine.data.facts.world import FactWorld
    from engine.dispatch.launching import pipeline_made_ready, queue_pipeline
    from engine.dispatch.lifecycle import ensure_running
    from engine.dispatch.readiness import Grounds
    from engine.spec.pipeline import load_pipeline

    if not recipe.is_file():
        raise NotFound("there is no such recipe.", hint="Run it where Plumbline was cloned.", where=str(recipe))
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    facts = folder / "facts"
    write(FactWorld(seed), facts)
    click.echo(f"Wrote the fact world of seed {seed} to {_short(facts)}.")

    settings.db = settings.db or folder / "experiments.db"
    store = settings.open_store(create=True)
    hostfile_text, hostfile = _cluster(settings, folder, nodes)
    hosts = parse_hostfile(hostfile_text, "demo") if hostfile is None else load_hostfile(Path(hostfile))
    paths = _with_facts(recipe, facts)
    records, grounds = settings.records, Grounds(hosts)
    pipeline = load_pipeline(recipe, [f"seed={seed}", *paths, *overrides])
    launched = queue_pipeline(records, pipeline_made_ready(records, pipeline, grounds), grounds, tags=("demo",))
    ensure_running(settings.database)
    ids = list(launched.stages.values())
    click.echo(f"Launched {launched}: {len(ids)} stages on {', '.join(node.host for node in hosts.nodes)}.")

    database = _short(settings.database)
    if not headless and sys.stdin.isatty() and sys.stdout.isatty():
        subprocess.run([sys.executable, "-m", "tui", "--db", str(settings.database)], check=False)
        click.echo(f"What runs goes on, and this waits for it. To see it again: .venv/bin/plumbline --db {database}")
    code = watch_until_ended(settings, store, ids, Lines(), called=str(launched))
    if code == 0:
        report = folder / "report.html"
        click.echo(_told(settings, store, launched.pipeline, report))
        click.echo(f"The report: {_short(report)}")
        click.echo(f"It took {duration(time.monotonic() - began)}. To look at it: .venv/bin/plumbline --db {database}")
    elif code == ExitCode.INTERRUPTED:
        click.echo(f"When they have ended: .venv/bin/engine report {launched} -o report.html --db {database}")
    else:
        click.echo(f"To go on with what has not succeeded: .venv/bin/engine resume {launched.pipeline} --db {database}")
    return code


def _with_facts(recipe: Path, facts: Path) -> list[str]:
    """Return settings for all keys of the stages that name files of the fact world, where recipes expect it.

    An item of a list cannot be set, so that a list is set whole.
    """
    from engine.spec.pipeline import load_pipeline
    from engine.spec.resolve import paths_by_key

    usual = ("demo", "facts")
    settings: dict[str, str | list[str]] = {}
    for stage in load_pipeline(recipe).stages:
        for key, path in paths_by_key(stage.spec).items() if stage.spec is not None else ():
            moved = str(facts / Path(path).name) if Path(path).parts[-3:-1] == usual else path
            place, in_list, _ = f"{stage.name}.{key}".partition("[")
            if in_list:
                settings[place] = [*settings.get(place, []), moved]
            elif moved != path:
                settings[place] = moved
    return [f"{place}={json.dumps(value)}" for place, value in settings.items()]


def _told(settings: Settings, store: Store, pipeline: str, file: Path) -> str:
    """Write the report of the newest launch of a pipeline, and return its first table."""
    from engine.cli.evaluation_files import find_files
    from engine.cli.report import write_report
    from engine.report.report import build
    from engine.report.selection import chosen
    from engine.report.tables import headline

    selection = chosen(store, [pipeline])
    made = build(store, selection, find_files(store, selection.experiments, here_only=False))
    write_report(made, [file, file.with_suffix(".md"), file.with_suffix(".json")])
    return "\n\n".join(_table(headline(one)) for one in made.headlines)


def _table(grid: Grid) -> str:
    """Return a table of the report for a terminal; intervals stand behind their figures."""
    rows = [[f"{cell.text} {cell.below}".strip() for cell in row] for row in grid.rows]
    titles = [label for label, columns in grid.spans for _ in range(columns)] or [""] * len(grid.header)
    titles = [""] * (len(grid.header) - len(titles)) + titles
    header = [f"{name} {title}".strip().upper() for name, title in zip(grid.header, titles, strict=True)]
    return table(header, rows)


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _cluster(settings: Settings, folder: Path, nodes: int) -> tuple[str, str | None]:
    """Start the loopback cluster; without sshd, say so and use this machine alone."""
    from engine.cluster.testbed import INSTALL_SSHD, sshd_path

    if sshd_path() is None:
        click.echo(f"There is no sshd here: the demo runs on this machine without SSH. To install it: {INSTALL_SSHD}")
        return f"localhost slots={nodes}\n", None
    log = (folder / "cluster.log").open("ab")
    arguments = ["--db", str(settings.database), "--work", str(folder / "nodes"), "--nodes", str(nodes)]
    holder = subprocess.Popen(
        [sys.executable, "-m", "engine.cli", "demo-cluster", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    log.close()
    assert holder.stdout is not None
    line = holder.stdout.readline()
    if not line:
        raise RunFailed("the demo's cluster did not start.", hint=f"See {_short(folder / 'cluster.log')}.")
    started = json.loads(line)
    click.echo(f"Started {nodes} OpenSSH nodes on loopback; they leave when the run has ended.")
    return Path(started["hostfile"]).read_text(encoding="utf-8"), started["hostfile"]
