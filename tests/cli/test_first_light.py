"""The whole way with real parts: `engine launch` over SSH to DeepSpeed, and its facts back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.lock import holder
from tests.cli.conftest import Result

REPOSITORY = Path(__file__).resolve().parents[2]
SPEC = """
kind: sft
model:
  architecture: {hidden_size: 32, layers: 2, heads: 2, intermediate_size: 48, max_positions: 64}
  tokenizer: {kind: word}
data: {train: train.jsonl, max_length: 64}
train: {steps: 40, batch_size: 8, lr: 1e-2, precision: fp32, zero_stage: 2, sample_prompts: 0}
placement: {threads: 1}
"""


class Shell:
    """A folder with a spec and data, and the command `engine` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rows = [{"prompt": f"where is x{n % 7} ?", "response": f"in y{n % 7} ."} for n in range(60)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / "spec.yaml").write_text(SPEC)
        self.database = folder / "experiments.db"

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `engine` without waiting for it."""
        environ = {name: value for name, value in os.environ.items() if name != "ENGINE_DB"}
        return subprocess.Popen(
            [sys.executable, "-m", "engine.cli", *arguments],
            cwd=self.folder,
            env=environ | {"PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def engine(self, *arguments: str) -> Result:
        """Run `engine` to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=240)
        return Result(process.returncode, out, err)

    def series(self, name: str = "loss") -> dict[str, Any]:
        found: dict[str, Any] = self.engine("metrics", "sft-0001", "--json").json["series"][name]
        return found

    def until(self, holds: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < give_up, lifecycle.log_path(self.database).read_text()
            time.sleep(0.1)

    def step(self) -> int:
        """Return the step of the only run, 0 while it is not queued yet."""
        return sum(int(row["step"]) for row in self.engine("ls", "--json").json)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    found = Shell(tmp_path)
    yield found
    if found.database.exists():
        for row in found.engine("ls", "--json").json:
            if row["state"] not in ("succeeded", "failed", "stopped", "lost"):
                found.engine("stop", row["id"], "--now")
                found.engine("watch", row["id"])
        lifecycle.stop(found.database)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    folder = tmp_path_factory.mktemp("nodes")
    with Testbed.start(folder / "ssh", nodes=2, slots=1, workdir=folder / "work") as running:
        yield running


def test_a_model_trains_on_two_nodes_and_every_fact_comes_once_whatever_is_killed(shell: Shell, nodes: Testbed) -> None:
    launched = shell.start(
        "launch", "spec.yaml", "--hostfile", str(nodes.hostfile), "--wait", "--set", "train.steps=150"
    )
    shell.until(shell.database.exists)
    shell.until(lambda: shell.step() >= 10)
    held = holder(shell.database)
    assert held is not None
    os.kill(held.pid, signal.SIGKILL)
    shell.until(lambda: (now := holder(shell.database)) is not None and now.pid != held.pid)
    nodes.stop_node(2)
    nodes.drop_connections(2)
    nodes.start_node(2)
    out, err = launched.communicate(timeout=240)
    assert launched.returncode == 0, (out, err)
    loss = shell.series()
    assert loss["step"] == list(range(1, 151))
    assert len(set(loss["time"])) == 150
    assert loss["value"][-1] < loss["value"][0] / 2
    shown = shell.engine("show", "sft-0001", "--json").json
    assert (shown["state"], shown["nodes"], shown["attempts"]) == ("succeeded", 2, 1)
    (export,) = [artifact for artifact in shown["artifacts"] if artifact["kind"] == "model"]
    assert (Path(export["path"]) / "model.safetensors").exists()
    assert "step 150/150" in shell.engine("logs", "sft-0001", "--tail", "8").out


def test_a_run_that_fails_says_why_and_its_outcome_is_the_exit_code(shell: Shell) -> None:
    result = shell.engine("launch", "spec.yaml", "--wait", "--set", "train.lr=1e30", "--json")
    assert result.code == 1
    (row,) = result.json
    assert row["state"] == "failed"
    assert row["reason"].startswith("rank 0 (localhost, slot 0) exited with code 1: error: ")
    assert "at step" in row["reason"]
    assert row["reason"] in result.err


def test_a_host_that_does_not_answer_is_code_5_and_host_port_and_cause_are_named(shell: Shell, nodes: Testbed) -> None:
    hostfile = shell.folder / "hostfile"
    hostfile.write_text(nodes.hostfile.read_text())
    nodes.stop_node(2)
    try:
        result = shell.engine(
            "launch", "spec.yaml", "--hostfile", str(hostfile), "--wait", "--set", "supervision.retries=0"
        )
    finally:
        nodes.start_node(2)
    assert result.code == 5
    port = next(
        line.split()[1]
        for line in nodes.ssh_config.read_text().split("Host node-2")[1].splitlines()
        if line.split()[:1] == ["Port"]
    )
    assert f"failed: node-2 cannot be reached: port {port} of 127.0.0." in result.err
    assert "refuses the connection" in result.err


def test_stop_resume_and_bookkeeping_from_the_shell(shell: Shell) -> None:
    assert shell.engine("launch", "spec.yaml", "--name", "mine", "--set", "train.steps=2000").out.strip() == "sft-0001"
    shell.until(lambda: shell.step() >= 20)
    assert shell.engine("stop", "mine").code == 0
    stopped = shell.engine("watch", "mine")
    assert stopped.code == 130 and "stopped at a checkpoint" in stopped.err
    reached = shell.step()
    assert shell.engine("resume", "mine", "--set", f"train.steps={reached + 10}").code == 0
    assert shell.engine("watch", "mine").code == 0
    assert shell.series()["step"] == list(range(1, reached + 11))
    assert shell.engine("rename", "mine", "yours").code == 0
    assert shell.engine("archive", "yours").code == 0
    assert shell.engine("ls", "--json").json == []
    assert [row["name"] for row in shell.engine("ls", "--all", "--json").json] == ["yours"]
