"""What all commands take that run a job in the foreground: the spec, and where and as what it runs."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.settings import Function, global_options, pass_settings

_OPTIONS = (
    click.argument("file", type=click.Path(path_type=Path)),
    click.option(
        "--run-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: runs/NAME beside the spec."
    ),
    click.option("--attempt", type=click.IntRange(min=1), help="Default: one more than the run directory has seen."),
    click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec."),
    global_options,
    pass_settings,
)


def job_options(function: Function) -> Function:
    """Add argument FILE, --run-dir, --attempt, --set and the global options to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function
