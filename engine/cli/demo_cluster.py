"""`engine demo-cluster`: holds the demo's loopback nodes until nothing runs on them any more."""

from __future__ import annotations

import os
import select
import sys
import tempfile
import time
from pathlib import Path

import click

from engine.cli.output import print_json_line
from engine.cli.settings import Settings, global_options, pass_settings

POLL_SECONDS = 1.0
LINGER_SECONDS = 5.0


@click.command(hidden=True)
@click.option("--work", type=click.Path(file_okay=False, path_type=Path), required=True, help="The nodes' work folder.")
@click.option("--nodes", type=click.IntRange(1, 8), default=2)
@global_options
@pass_settings
def demo_cluster(settings: Settings, work: Path, nodes: int) -> None:
    """Start the nodes, print the hostfile's path, stay until standard input is closed and all runs have ended."""
    from engine.cluster.testbed import Testbed
    from engine.store import experiments

    store = settings.open_store(create=True)
    with (
        tempfile.TemporaryDirectory(prefix="plumbline-demo-") as folder,
        Testbed.start(Path(folder), nodes=nodes, slots=1, workdir=work),
    ):
        print_json_line({"hostfile": str(Path(folder) / "hostfile")})
        attended, idle_since = True, time.monotonic()
        while attended or time.monotonic() - idle_since < LINGER_SECONDS:
            if attended and select.select([sys.stdin], [], [], POLL_SECONDS)[0]:
                attended = os.read(sys.stdin.fileno(), 1) != b""
            elif not attended:
                time.sleep(POLL_SECONDS)
            if attended or experiments.unfinished(store):
                idle_since = time.monotonic()
