"""Runs the checks of a GPU: `engine train` and other benchmarks in processes of their own, and what they left."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_specs import Specs

HERE = Path(__file__).parent
ON_CPU = {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that has ended."""

    name: str
    folder: Path
    code: int
    seconds: float
    stderr: str

    def metrics(self, name: str) -> list[float]:
        """Return a metric by step, without what a later attempt superseded."""
        points: dict[int, float] = {}
        file = self.folder / "metrics.jsonl"
        for line in file.read_text().splitlines() if file.exists() else ():
            record = json.loads(line)
            if record["kind"] == "start":
                points = {step: value for step, value in points.items() if step <= record["resumed_step"]}
            elif name in record["metrics"]:
                points[record["step"]] = float(record["metrics"][name])
        return [points[step] for step in sorted(points)]

    @property
    def error(self) -> str:
        """The last line that it wrote to stderr."""
        return (self.stderr.strip().splitlines() or [""])[-1]

    @property
    def digest(self) -> str:
        """Of the exported weights."""
        return hashlib.sha256((self.folder / "export/model.safetensors").read_bytes()).hexdigest()[:12]


class Runs:
    """What runs, where it writes, and what it told."""

    def __init__(self, work: Path, out: Path, *, cpu: bool, seconds: float) -> None:
        self.work, self.out, self.cpu = work, out, cpu
        self.deadline = time.monotonic() + seconds
        self.environ = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_EXTENSIONS_DIR": str(work / "compiled")}
        self.told: dict[str, str] = {}  # what runs wrote to stderr
        self.failed: set[str] = set()  # names of runs
        self.pool = ThreadPoolExecutor(2 if cpu else 14)
        self.made: dict[str, Future[Path]] = {}  # models with random weights, by shape
        self.specs = Specs(work / "facts")  # the built-in world
        self.ask(sys.executable, "-m", "engine.cli", "data", "facts", "--out", str(self.specs.facts))

    @property
    def left(self) -> float:
        """Seconds."""
        return max(1.0, self.deadline - time.monotonic())

    def train(self, name: str, spec: Mapping[str, Any], *, kill_at: int | None = None, cpu: bool = False) -> Ran:
        """Run `engine train`; with `kill_at`, kill it once it has logged that step, and run it again."""
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        (folder / "spec.yaml").write_text(json.dumps(spec))
        command = [sys.executable, "-m", "engine.cli", "train", str(folder / "spec.yaml"), "--run-dir"]
        environ = self.environ | (ON_CPU if cpu or self.cpu else {})
        began = time.monotonic()
        if kill_at is not None:
            self._kill([*command, str(folder / "run")], environ, folder / "run/metrics.jsonl", kill_at)
        with (folder / "stderr").open("w+") as errors:
            process = subprocess.Popen(
                [*command, str(folder / "run")], env=environ, stdout=subprocess.DEVNULL, stderr=errors
            )
            try:
                code = process.wait(self.left)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            errors.seek(0)
            self.told[name] = errors.read()
        if code:
            self.failed.add(name)
        return Ran(name, folder / "run", code, time.monotonic() - began, self.told[name])

    def _kill(self, command: Sequence[str], environ: Mapping[str, str], metrics: Path, step: int) -> None:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + self.left
        while process.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and f'"step":{step},' in metrics.read_text():
                break
            time.sleep(0.001)
        process.kill()
        if process.wait() >= 0:
            raise RuntimeError(f"it ended with {process.returncode} before it was killed")

    def all(self, *tasks: Callable[[], Ran]) -> list[Ran]:
        """Run some at once."""
        return list(self.pool.map(lambda task: task(), tasks))

    def ask(self, *command: str) -> str:
        """Return what a command prints."""
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150, env=self.environ)
        return run.stdout + run.stderr

    def script(self, name: str, *arguments: str) -> None:
        """Run another benchmark."""
        command = [sys.executable, str(HERE / name), *arguments]
        began = time.monotonic()
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=self.left, env=self.environ)
        self.told[" ".join((name, *arguments))] = run.stderr
        print(
            run.stdout.strip() if run.returncode == 0 else f"{name} ended with {run.returncode}: {run.stderr[-1500:]}"
        )
        print(f"  ({time.monotonic() - began:.0f} s in all)", flush=True)
