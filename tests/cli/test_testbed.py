"""`engine testbed up`: nodes for as long as somebody holds them."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from engine.cluster.hostfile import load_hostfile

SECONDS = 30.0
UP = [sys.executable, "-m", "engine.cli", "testbed", "up", "--nodes", "2", "--slots", "3", "--work", "my work"]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, cwd=folder, check=False
    )


def test_the_nodes_leave_with_whoever_holds_the_pipe(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*UP, "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as held:
        assert held.stdin is not None and held.stdout is not None
        document = json.loads("".join(iter(held.stdout.readline, "}\n")) + "}")
        nodes = load_hostfile(Path(document["hostfile"])).nodes
        assert [(node.host, node.slots) for node in nodes] == [("node-1", 3), ("node-2", 3)]
        check, launch, login = (shlex.split(line) for line in document["commands"])
        assert (
            check[1:3] == ["cluster", "check"]
            and run([check[0], "validate", launch[2], launch[4]], tmp_path).returncode == 0
        )
        assert run([*login, "echo $((6*7))"], tmp_path).stdout == "42\n"
        second = run(UP, tmp_path)
        assert second.returncode == 4 and second.stderr.startswith("error: my work: another testbed stands here.")
        held.stdin.close()
        assert held.wait(SECONDS) == 0
    assert run([*login, "true"], tmp_path).returncode == 255


def test_a_signal_ends_it_and_the_next_has_the_same_keys(tmp_path: Path) -> None:
    keys = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(
            UP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, text=True
        ) as held:
            assert held.stdout is not None and held.stderr is not None
            assert any(line.startswith("  ssh") for line in iter(held.stdout.readline, ""))
            held.send_signal(number)
            assert held.wait(SECONDS) == 0 and held.stderr.read().startswith("The nodes have left")
        keys.append((tmp_path / "my work" / "known_hosts").read_text().split()[2])
    assert keys[0] == keys[1]
