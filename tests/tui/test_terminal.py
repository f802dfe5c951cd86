"""The command `plumbline` itself: in a real terminal, and where there is none."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tui.terminal import Terminal
from tests.tui.world import World

PLUMBLINE = [sys.executable, "-m", "tui"]


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    found = Terminal(tmp_path, 100, 30)
    yield found
    found.stop()


def test_in_a_real_terminal_one_sees_filters_asks_and_leaves(world: World, terminal: Terminal, tmp_path: Path) -> None:
    for name in ("alpha", "beta", "gamma"):
        world.begin(world.add(name))
    world.train("sft-0002", range(1, 43))
    command = shlex.join([*PLUMBLINE, "--db", str(world.store.path), "--readonly"])
    terminal.start(f"{command}; echo left with $?; sleep 100")
    terminal.wait_for("plumbline", "sft-0003", "42/100", "● running")
    terminal.press("/")
    terminal.wait_for("tab complete")
    terminal.press("bet")
    terminal.wait_for("1 of 3")
    terminal.press("Enter")
    terminal.wait_for("? help")
    terminal.press("?")
    terminal.wait_for("keys", "filter by words")
    terminal.press("Escape")
    time.sleep(0.3)
    terminal.press("q")
    terminal.wait_for("3 runs go on", "left with 0")


def test_generated_experiments_open_without_a_cluster_and_are_gone_afterwards(
    terminal: Terminal, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = f"TMPDIR={shlex.quote(str(scratch))} {shlex.join([*PLUMBLINE, '--demo'])}"
    terminal.start(f"{command}; echo left with $?; sleep 100")
    terminal.wait_for("17 runs", "● running", "kl-6")
    assert len(list(scratch.iterdir())) == 1
    terminal.press("q")
    terminal.wait_for("left with 0")
    assert "go on" not in terminal.screen()
    assert not list(scratch.iterdir())


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `plumbline` without a terminal."""
    return subprocess.run(
        [*PLUMBLINE, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_without_a_terminal_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    done = run("--db", str(tmp_path / "x.db"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1 and "needs a terminal" in done.stderr
    assert not (tmp_path / "x.db").exists()


def test_help_and_version_and_wrong_usage() -> None:
    assert run("--help").returncode == 0 and "--hostfile" in run("--help").stdout
    assert run("--version").stdout.startswith("plumbline 0.")
    assert run("--nonsense").returncode == 2


def test_the_first_frame_imports_neither_database_nor_anything_that_computes() -> None:
    script = "import tui.app, tui.__main__, sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    late = {"sqlalchemy", "alembic", "pydantic", "paramiko", "ruamel", "click"}
    heavy = {"torch", "transformers", "deepspeed", "datasets", "faiss", "sentence_transformers"}
    assert not set(done.stdout.split()) & (late | heavy)
