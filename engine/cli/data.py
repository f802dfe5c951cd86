"""`engine data`: examples as the trainer sees them, and the built-in fact world."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.output import print_json
from engine.cli.settings import Settings, global_options, pass_settings


@click.group()
def data() -> None:
    """Look at training data; write the built-in fact world."""
