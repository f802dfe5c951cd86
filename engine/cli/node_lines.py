"""What happens on each node: on a terminal a line a node that changes in place, else nothing but the data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from engine.cli.settings import Settings
from engine.telemetry.visible import visible


@contextmanager
def node_lines(settings: Settings, hosts: Sequence[str]) -> Iterator[Callable[[str, str], None]]:
    """Give a function that shows what a host does now; any thread may call it."""
    if settings.quiet or settings.json or not sys.stderr.isatty():
        yield lambda host, what: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[host]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", markup=False),
    )
    console = Console(stderr=True, no_color=not settings.color)
    with Progress(*columns, console=console, transient=True) as progress:
        tasks = {host: progress.add_task("", total=None, host=host, what="") for host in hosts}
        yield lambda host, what: progress.update(tasks[host], what=visible(what))
