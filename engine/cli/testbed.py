"""`engine testbed`: a small cluster of real OpenSSH nodes on this machine, to try Plumbline on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.output import print_json, say
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.cluster.testbed import Testbed

_TRIAL = """\
# A run that trains nothing, on all slots, for about two minutes.
kind: sim
steps: 240
step_seconds: 0.5
checkpoint_every: 20
"""


@click.group()
def testbed() -> None:
    """A small cluster of real OpenSSH nodes on this machine, to try Plumbline on."""


@testbed.command()
@click.option("--nodes", type=click.IntRange(1, 64), default=8, show_default=True)
@click.option("--slots", type=click.IntRange(1, 64), default=8, show_default=True, help="Of each node.")
@click.option(
    "--work",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("testbed"),
    show_default=True,
    help="Folder for the hostfile, the keys, and what the nodes keep.",
)
@click.option(
    "--isolated/--no-isolated",
    default=False,
    show_default=True,
    help="Each node with network, processes and host name of its own (Linux namespaces), or all on loopback.",
)
@global_options
@pass_settings
def up(settings: Settings, *, nodes: int, slots: int, work: Path, isolated: bool) -> None:
    """Start the nodes and hold them until Ctrl-C, SIGTERM, or the end of standard input if that is a pipe."""
    from engine.cluster.testbed import Testbed

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    work.mkdir(parents=True, exist_ok=True)
    with (
        _alone_in(work),
        Testbed.start(work, nodes=nodes, slots=slots, workdir=work / "nodes", isolated=isolated) as running,
        contextlib.suppress(KeyboardInterrupt),
    ):
        _tell(settings, running, work, nodes, slots, isolated=isolated)
        _wait()
    say(settings, "The nodes have left." if isolated else "The nodes have left; what runs on them runs on.")


def _tell(settings: Settings, running: Testbed, work: Path, nodes: int, slots: int, *, isolated: bool) -> None:
    """Print where the nodes are and what to do with them."""
    trial = work / "trial.yaml"
    if not trial.exists():
        trial.write_text(_TRIAL, encoding="utf-8")
    commands = _commands(work, trial)
    if settings.json:
        print_json(
            {
                "hostfile": str(running.hostfile),
                "ssh_config": str(running.ssh_config),
                "nodes": [f"node-{index}" for index in range(1, nodes + 1)],
                "slots": slots,
                "isolated": isolated,
                "commands": commands,
            }
        )
    else:
        kind = "isolated nodes" if isolated else "nodes on loopback"
        click.echo(f"{nodes} {kind} with {slots} slots each; they leave when this ends (Ctrl-C).")
        click.echo(f"Hostfile: {work / 'hostfile'}\n\nTo look at them, run something on them, log in to one:")
        for command in commands:
            click.echo(f"  {command}")
    sys.stdout.flush()


def _commands(work: Path, trial: Path) -> list[str]:
    """Return three command lines to type next."""
    beside = Path(sys.executable).with_name("engine")
    if shutil.which("engine"):
        engine = "engine"
    else:
        engine = str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
    hostfile = str(work / "hostfile")
    return [
        shlex.join([engine, "cluster", "check", "--hostfile", hostfile]),
        shlex.join([engine, "launch", str(trial), "--hostfile", hostfile]),
        shlex.join(["ssh", "-F", str(work / "ssh_config"), "node-1"]),
    ]


@contextlib.contextmanager
def _alone_in(work: Path) -> Iterator[None]:
    """Hold the folder. Raises Refused if another testbed does."""
    descriptor = os.open(work / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                "another testbed stands here.", hint="Name another folder: --work DIR.", where=str(work)
            ) from None
        yield
    finally:
        os.close(descriptor)


def _wait() -> None:
    """Return at the end of standard input if somebody holds its other end; else stay."""
    if sys.stdin is None or not _is_held(sys.stdin.fileno()):
        while True:
            signal.pause()
    while os.read(sys.stdin.fileno(), 4096):
        pass


def _is_held(descriptor: int) -> bool:
    mode = os.fstat(descriptor).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)
