"""`engine demo`: what a newcomer sees first, with a shorter recipe."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.cli import demo
from engine.cli.settings import Settings
from engine.dispatch import lifecycle

REPOSITORY = Path(__file__).resolve().parents[2]


def short_recipe(folder: Path) -> Path:
    """Write the demo's recipe with a tenth of its steps."""
    text = (REPOSITORY / "recipes/facts/sft.yaml").read_text(encoding="utf-8")
    path = folder / "short.yaml"
    path.write_text(re.sub(r"steps: \d+", "steps: 40", re.sub(r"eval_every: \d+", "eval_every: 20", text), count=1))
    return path


def test_without_a_terminal_it_trains_on_two_ssh_nodes_prints_a_table_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "demo", "--folder", str(folder), "--recipe", str(short_recipe(tmp_path))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if name != "ENGINE_DB"},
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Started 2 OpenSSH nodes on loopback" in done.stdout
    assert "Launched sft-0001 on node-1, node-2." in done.stdout
    assert re.search(r"points, one a logged step +40\n", done.stdout)
    first, last = map(float, re.findall(r"mean of the \w+ tenth +([\d.]+)", done.stdout))
    assert last < first
    database = folder / "experiments.db"
    give_up = time.monotonic() + 60
    while lifecycle.status(database).running or cluster_processes(folder):
        assert time.monotonic() < give_up
        time.sleep(0.2)


def cluster_processes(folder: Path) -> list[str]:
    """Return the command lines of what is left of the demo's cluster."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "demo-cluster" in line and str(folder) in line:
            found.append(line)
    return found


def test_without_sshd_it_says_how_to_install_it_and_uses_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("engine.cluster.testbed.sshd_path", lambda: None)
    text, hostfile = demo._cluster(Settings(db=tmp_path / "x.db"), tmp_path, 2)
    assert (text, hostfile) == ("localhost slots=2\n", None)
    (line,) = capsys.readouterr().out.splitlines()
    assert "without SSH" in line and "openssh-server" in line


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from engine.cli.__main__ import main

    with pytest.raises(SystemExit) as exit_:
        main(["demo", "--recipe", str(tmp_path / "no.yaml"), "--folder", str(tmp_path / "demo"), "--json"])
    assert exit_.value.code == 3
    assert json.loads(capsys.readouterr().out)["error"]["where"] == str(tmp_path / "no.yaml")
