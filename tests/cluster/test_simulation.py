"""The simulated run: what a trainer promises, it keeps, however often it is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.cluster.simulation import metrics
from engine.spec.canonical import to_yaml
from engine.spec.loading import parse_spec
from engine.spec.models import AnySpec
from engine.store import attempts, events, experiments, facts, series
from engine.store.database import Store
from engine.telemetry.progress import FOLDER_VARIABLE, progress_file, read_progress
from engine.telemetry.reader import read_chunk
from engine.telemetry.records import FACT_FILES
from engine.telemetry.states import State

SECONDS = 30.0


class Runs:
    """A run directory, and the database that its facts are brought into."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.spec: AnySpec = parse_spec("kind: sim\n" + "".join(f"{key}: {value}\n" for key, value in settings.items()))
        (folder / "spec.yaml").write_text(to_yaml(self.spec))
        self.store = Store.open(folder / "experiments.db")
        self.id = experiments.create(self.store, self.spec)
        self.attempt = 0

    def start(self, rank: int = 0, **environ: str) -> subprocess.Popen[str]:
        """Start a rank; rank 0 begins the next attempt."""
        if rank == 0:
            self.attempt += 1
            if self.attempt > 1:
                attempts.transition(self.store, self.id, self.attempt - 1, State.LOST)
                experiments.resume(self.store, self.id)
            attempts.begin(self.store, self.id, run_dir=str(self.folder), placement=[])
        command = [sys.executable, "-P", "-m", "engine.cluster.simulation", str(self.folder / "spec.yaml")]
        return subprocess.Popen(
            [*command, "--run-dir", str(self.folder), "--attempt", str(self.attempt)],
            env=os.environ | {"RANK": str(rank), "LOCAL_RANK": str(rank), "CROSS_RANK": "0", **environ},
            stderr=subprocess.PIPE,
            text=True,
        )

    def collect(self) -> list[tuple[int, float]]:
        """Bring the facts in; return the points of the loss that count."""
        for name in FACT_FILES:
            before = facts.cursor(self.store, self.id, name)
            chunk = read_chunk(self.folder / name, before)
            facts.ingest(self.store, self.id, name, chunk, before)
        points = series.read(self.store, self.id, "loss")
        return list(zip(map(int, points.step), map(float, points.value), strict=True))

    def expected(self, steps: int) -> list[tuple[int, float]]:
        total = self.spec.steps  # type: ignore[union-attr]
        return [(step, metrics(self.spec.seed, step, total, 1)["loss"]) for step in range(1, steps + 1)]

    def events(self) -> list[str]:
        return [event.event for event in events.list_events(self.store, self.id)]


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=SECONDS)
    return process.returncode, said


def said_line(process: subprocess.Popen[str], start: str) -> None:
    assert process.stderr is not None
    while not (line := process.stderr.readline()).startswith(start):
        assert line, "it ended before it said so"


def test_it_tells_what_a_trainer_tells_by_its_first_rank_alone(tmp_path: Path) -> None:
    run = Runs(tmp_path, steps=5, step_seconds=0, metrics=12, every_rank="true", seed=7)
    code, said = ended(run.start(1))
    assert code == 0 and "step 5/5  loss" in said
    assert not any((tmp_path / name).exists() for name in FACT_FILES)
    code, said = ended(run.start(0, **{FOLDER_VARIABLE: str(tmp_path)}))
    assert code == 0 and "step 5/5  loss" in said
    assert run.collect() == run.expected(5)
    assert {found.name for found in series.names(run.store, run.id)} == set(metrics(7, 1, 5, 12))
    assert run.events() == ["started", "checkpoint", "artifact", "finished"]
    (artifact,) = facts.artifacts(run.store, run.id)
    assert artifact.kind == "model" and artifact.step == 5
    assert artifact.sha256 == hashlib.sha256((Path(artifact.path) / "config.json").read_bytes()).hexdigest()
    mark = read_progress(progress_file(tmp_path, 0))
    assert mark is not None and (mark.step, mark.phase) == (5, "export")


def test_killed_at_any_moment_it_resumes_so_that_every_step_counts_once(tmp_path: Path) -> None:
    chance = random.Random(20261126)
    run = Runs(tmp_path, steps=300, step_seconds=0.001, checkpoint_every=7)
    resumed = 0
    for _ in range(12):
        process = run.start()
        said_line(process, "Started" if run.attempt == 1 else "")
        time.sleep(chance.uniform(0, 0.05))
        process.kill()
        ended(process)
        with contextlib.suppress(IndexError):
            resumed = max(resumed, run.collect()[-1][0])
    assert ended(run.start())[0] == 0
    assert run.collect() == run.expected(300)
    assert resumed > 7 and "resumed" in run.events()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGUSR1, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_it_stops_as_it_is_told(tmp_path: Path, number: int, code: int) -> None:
    run = Runs(tmp_path, steps=10_000, step_seconds=0.01)
    process = run.start()
    said_line(process, "step 3/")
    process.send_signal(number)
    assert ended(process)[0] == code
    kept = len(run.collect()) if code == 130 else 0
    process = run.start()
    said_line(process, f"Resumed from step {kept}" if kept else "Started")
    said_line(process, f"step {kept + 1}/")
    process.send_signal(signal.SIGUSR1)
    assert ended(process)[0] == 130
    points = run.collect()
    assert points == [(step, value) for step, value in run.expected(points[-1][0])] and len(points) > kept
    assert run.events()[-2:] == ["checkpoint", "stopped"]


def test_a_rank_fails_where_the_spec_says(tmp_path: Path) -> None:
    run = Runs(tmp_path, steps=5, step_seconds=0, fail_step=3, fail_rank=1)
    code, said = ended(run.start(1))
    assert (code, said.splitlines()[-1]) == (1, "error: rank 1 was told to fail at step 3.")
    assert ended(run.start(0))[0] == 0


def test_the_first_rank_goes_on_from_its_own_checkpoint_alone(
    tmp_path: Path,
) -> None:
    run = Runs(tmp_path, steps=5, step_seconds=0)
    assert ended(run.start(8, CROSS_RANK="1", LOCAL_RANK="0"))[0] == 0
    assert (tmp_path / "checkpoints/node-1.json").exists()
    assert ended(run.start(0))[0] == 0
    assert run.collect() == run.expected(5)


def test_what_is_no_simulated_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    run = Runs(tmp_path, steps=5)
    (tmp_path / "spec.yaml").write_text("kind: sft\n")
    code, said = ended(run.start(1))
    assert code == 2 and said == f"error: {tmp_path / 'spec.yaml'}: is no spec of a simulated run.\n"
