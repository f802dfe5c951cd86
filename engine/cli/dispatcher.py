"""`engine dispatcher`: the background process that makes what runs equal to what should run."""

from __future__ import annotations

import dataclasses

import click

from engine.cli.output import print_json
from engine.cli.settings import Settings, global_options, pass_settings


@click.group()
def dispatcher() -> None:
    """The background process; it starts by itself when there is something to do."""


def _say_status(settings: Settings) -> None:
    from engine.dispatch import lifecycle

    now = lifecycle.status(settings.database)
    if settings.json:
        print_json(dataclasses.asdict(now))
    else:
        click.echo(f"running, process {now.pid}" if now.running else "not running")


@dispatcher.command()
@global_options
@pass_settings
def status(settings: Settings) -> None:
    """Whether it runs."""
    _say_status(settings)


@dispatcher.command()
@global_options
@pass_settings
def start(settings: Settings) -> None:
    """Start it, if it does not run."""
    from engine.dispatch import lifecycle

    settings.open_store()
    lifecycle.ensure_running(settings.database)
    _say_status(settings)


@dispatcher.command()
@global_options
@pass_settings
def stop(settings: Settings) -> None:
    """Stop it; the runs go on, and it catches up when it is started again."""
    from engine.dispatch import lifecycle

    lifecycle.stop(settings.database)
    _say_status(settings)
