"""The lines that architecture.md draws, held."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "transformers", "deepspeed", "datasets", "faiss", "sentence_transformers")


def imported_by(statement: str) -> set[str]:
    """The top-level modules that a fresh interpreter has after the statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_the_control_plane_imports_nothing_that_computes() -> None:
    rooms = "cli.__main__ cli.launch cli.watch report.html report.report dispatch.dispatcher cluster.ssh"
    statements = "; ".join(
        f"import engine.{room}" for room in [*rooms.split(), "store.database", "spec.loading", "telemetry.writer"]
    )
    assert not imported_by(f"import tui.app; {statements}") & set(HEAVY)


def test_every_command_can_be_imported_without_what_computes() -> None:
    walk = "[m.engine.get_command(click.Context(m.engine), name) for name in m.COMMANDS]"
    assert not imported_by(f"import click, engine.cli.__main__ as m; {walk}") & set(HEAVY)
