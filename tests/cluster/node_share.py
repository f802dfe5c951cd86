"""A node's share of an attempt, started for real in a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.cluster import pushed
from engine.cluster.node.archive import write_archive
from engine.cluster.node.processes import process_start

START_AGENT = [sys.executable, "-I", "-S"]


class Share:
    """A node's share of an attempt, in a folder."""

    def __init__(self, folder: Path, script: str, ranks: Sequence[int] = (0, 1), at: str = ".", **more: Any) -> None:
        folder = self.folder = folder / at
        folder.mkdir(parents=True, exist_ok=True)
        job = {
            "node": 0,
            "nodes": 1,
            "world_size": 2,
            "ranks": [{"rank": rank, "local_rank": local} for local, rank in enumerate(ranks)],
            "master_address": "127.0.0.1",
            "master_port": 4321,
            "threads": None,
            "interface": None,
            "argv": [sys.executable, "-I", "-S", "-c", script],
            "cwd": str(folder),
            "env": {"GREETING": "hello"},
            **more,
        }
        (folder / "job.json").write_text(json.dumps(job))
        write_archive(folder / "agent.pyz", pushed.sources())

    def start(self, **environ: str) -> int:
        command = [*START_AGENT, str(self.folder / "agent.pyz"), str(self.folder)]
        return subprocess.run(command, check=False, timeout=30, env={**os.environ, **environ}).returncode

    @property
    def pid(self) -> int:
        return int(json.loads((self.folder / "agent.json").read_text())["pid"])

    @property
    def mark(self) -> str:
        return str(json.loads((self.folder / "agent.json").read_text())["mark"])

    @property
    def undertaker(self) -> int:
        return int(self.beat()["undertaker"])

    def beat(self) -> dict[str, Any]:
        until((self.folder / "heartbeat.json").exists)
        found: dict[str, Any] = json.loads((self.folder / "heartbeat.json").read_text())
        return found

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> None:
        """End it if it still runs."""
        if (self.folder / "agent.json").exists() and process_start(self.pid):
            self.signal(signal.SIGTERM)
            self.exit()

    def exit(self) -> dict[str, Any]:
        until((self.folder / "exit.json").exists)
        record: dict[str, Any] = json.loads((self.folder / "exit.json").read_text())
        return record

    def log(self, rank: int = 0) -> str:
        path = self.folder / f"rank-{rank}.log"
        return path.read_text() if path.exists() else ""


def until(holds: Callable[[], bool]) -> None:
    """Wait until it holds."""
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
