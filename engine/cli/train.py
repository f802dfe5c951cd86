"""`engine train`: the job itself, in the foreground, under whatever started it."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.job_options import job_options
from engine.cli.settings import Settings


@click.command()
@job_options
def train(settings: Settings, file: Path, run_dir: Path | None, attempt: int | None, overrides: tuple[str, ...]) -> int:
    """Train FILE here: by hand, or under torchrun, deepspeed or srun."""
    from engine.train import main

    return main.train(file, run_dir, attempt, overrides)
