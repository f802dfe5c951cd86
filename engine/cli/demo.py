"""`engine demo`: a small cluster on this machine, a fine-tuning over SSH, and the UI open on it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

import click

from engine.cli.output import duration, number, table
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import NotFound, RunFailed

if TYPE_CHECKING:
    from engine.store.database import Store


@click.command()
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("demo"), show_default=True)
@click.option("--recipe", type=click.Path(path_type=Path), default=Path("recipes/facts/sft.yaml"), show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the fact world.")
@click.option("--nodes", type=click.IntRange(1, 8), default=2, show_default=True)
@click.option("--headless", is_flag=True, help="No UI, also on a terminal.")
@global_options
@pass_settings
def demo(settings: Settings, *, folder: Path, recipe: Path, seed: int, nodes: int, headless: bool) -> int:
    """Fine-tune a tiny model on two nodes over SSH, and watch it learn."""
    from engine.cli.watch import Lines, watch_until_ended
    from engine.cluster.hostfile import parse_hostfile
    from engine.cluster.snapshot import take_snapshot
    from engine.data.facts.files import write
    from engine.data.facts.world import FactWorld
    from engine.dispatch.lifecycle import ensure_running
    from engine.spec.loading import load_spec
    from engine.spec.resolve import with_absolute_paths
    from engine.store import experiments

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
    overrides = [f"data.train={facts / 'sft.jsonl'}", f"data.eval={facts / 'sft-eval.jsonl'}", f"seed={seed}"]
    spec = with_absolute_paths(load_spec(recipe, overrides), recipe.resolve().parent)
    hosts = parse_hostfile(hostfile_text, hostfile or "demo")
    snapshot = take_snapshot(store.objects_dir)
    identity = experiments.create(
        store, spec, tags=("demo",), hostfile=hostfile, hostfile_text=hosts.text, code=snapshot.sha256
    )
    ensure_running(settings.database)
    click.echo(f"Launched {identity} on {', '.join(node.host for node in hosts.nodes)}.")

    database = _short(settings.database)
    if not headless and sys.stdin.isatty() and sys.stdout.isatty():
        outcome = subprocess.run([sys.executable, "-m", "tui", "--db", str(settings.database), identity], check=False)
        click.echo(f"What runs goes on. To see it again: .venv/bin/plumbline --db {database}")
        return outcome.returncode
    code = watch_until_ended(settings, store, [identity], Lines())
    if code == 0:
        click.echo(_learned(store, identity))
        click.echo(f"It took {duration(time.monotonic() - began)}. To look at it: .venv/bin/plumbline --db {database}")
    return code


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


def _mean_of_tenth(values: Sequence[float], *, last: bool) -> float:
    tenth = max(1, len(values) // 10)
    return fmean(values[-tenth:] if last else values[:tenth])


def _learned(store: Store, identity: str) -> str:
    from engine.store import series

    loss = series.read(store, identity, "loss")
    first, last = _mean_of_tenth(loss.value, last=False), _mean_of_tenth(loss.value, last=True)
    rows = [
        ["points, one a logged step", str(len(loss.step))],
        ["loss, mean of the first tenth", number(first)],
        ["loss, mean of the last tenth", number(last)],
        ["final loss", number(loss.value[-1])],
    ]
    return table(["FACT WORLD, SFT", ""], rows, right=(1,))
