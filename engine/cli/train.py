"""`engine train`: the job itself, in the foreground, under whatever started it."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.settings import Settings, global_options, pass_settings


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--run-dir", type=click.Path(file_okay=False, path_type=Path), help="Default: runs/NAME beside the spec.")
@click.option("--attempt", type=click.IntRange(min=1), help="Default: one more than the run directory has seen.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
@global_options
@pass_settings
def train(settings: Settings, file: Path, run_dir: Path | None, attempt: int | None, overrides: tuple[str, ...]) -> int:
    """Train FILE here: by hand, or under torchrun, deepspeed or srun."""
    from engine.train import main

    return main.train(file, run_dir, attempt, overrides)
