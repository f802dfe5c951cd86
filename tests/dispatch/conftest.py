"""A database with a real dispatcher process, real OpenSSH nodes, and a worker that is there at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.lock import holder
from engine.spec.loading import parse_spec
from engine.store import experiments, series
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.telemetry.states import State

SPEC = """
kind: sft
note: {note}
model: {{architecture: {{}}}}
data: {{train: {data}}}
train: {{steps: {steps}}}
supervision: {{retries: {retries}}}
"""


@pytest.fixture(scope="session")
def worker_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that runs the worker wherever a node would train."""
    path = tmp_path_factory.mktemp("python") / "python"
    real, worker = shlex.quote(sys.executable), shlex.quote(str(Path(__file__).with_name("worker.py")))
    path.write_text(
        f'#!/bin/sh\nfor word; do [ "$word" = engine.cli ] && exec {real} {worker} "$@"; done\nexec {real} "$@"\n'
    )
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    """Two OpenSSH nodes with two slots each."""
    folder = tmp_path_factory.mktemp("nodes")
    with Testbed.start(folder / "ssh", nodes=2, slots=2, workdir=folder / "work") as running:
        yield running


class House:
    """A database, its dispatcher, and what a person does with them."""

    def __init__(self, folder: Path, hostfile: str) -> None:
        self.folder, self.hostfile = folder, hostfile
        self.store = Store.open(folder / "experiments.db")
        (folder / "facts.jsonl").write_text("{}\n")

    def launch(
        self,
        steps: int = 50,
        note: str = "pause=0.01",
        *,
        hostfile: str | None = "",
        data: str = "",
        retries: int = 0,
        **more: Any,
    ) -> str:
        """Queue a run on the nodes, and wake the dispatcher. hostfile: null for this machine."""
        text = SPEC.format(steps=steps, note=note, data=data or self.folder / "facts.jsonl", retries=retries)
        spec = parse_spec(text)
        hosts = self.hostfile if hostfile == "" else hostfile
        identity = experiments.create(self.store, spec, hostfile_text=hosts, **more)
        self.wake()
        return identity

    def wake(self) -> None:
        lifecycle.ensure_running(self.store.path)

    def get(self, identity: str) -> Experiment:
        return experiments.get(self.store, identity)

    def until(self, holds: Callable[[], Any], seconds: float = 60.0) -> None:
        give_up = time.monotonic() + seconds
        while not holds():
            log = lifecycle.log_path(self.store.path)
            assert time.monotonic() < give_up, (
                experiments.list_experiments(self.store),
                log.read_text() if log.exists() else "no dispatcher",
            )
            time.sleep(0.02)

    def until_step(self, identity: str, step: int) -> None:
        self.until(lambda: self.get(identity).step >= step or self.get(identity).state.ended)
        assert not self.get(identity).state.ended, self.get(identity)

    def ended(self, identity: str) -> Experiment:
        """Wait for the end, and return how it was."""
        self.until(lambda: self.get(identity).state.ended)
        return self.get(identity)

    def succeeded(self, identity: str, steps: int) -> Experiment:
        """Wait for success, and for exactly one point at each step."""
        found = self.ended(identity)
        assert found.state is State.SUCCEEDED, found
        assert list(series.read(self.store, identity, "loss").step) == list(range(1, steps + 1))
        return found

    def kill_dispatcher(self) -> None:
        held = holder(self.store.path)
        assert held is not None
        os.kill(held.pid, signal.SIGKILL)
        self.until(lambda: holder(self.store.path) is None)

    def close(self) -> None:
        for experiment in experiments.unfinished(self.store):
            self.until(lambda experiment=experiment: self._stop(experiment.id))
        lifecycle.stop(self.store.path)
        self.store.close()

    def _stop(self, identity: str) -> bool:
        from engine.errors import PlumblineError
        from engine.telemetry.states import Desired

        if self.get(identity).state.ended:
            return True
        try:
            experiments.set_desired(self.store, identity, Desired.STOP_NOW)
        except PlumblineError:
            return self.get(identity).state.ended
        self.wake()
        return False


@pytest.fixture
def house(tmp_path: Path, nodes: Testbed, worker_python: Path) -> Iterator[House]:
    text = nodes.hostfile.read_text(encoding="utf-8")
    lines = [line.replace(f"python={sys.executable}", f"python={worker_python}") for line in text.splitlines()]
    found = House(tmp_path, "\n".join(lines) + "\n")
    yield found
    found.close()
