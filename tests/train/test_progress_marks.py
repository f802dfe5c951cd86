"""Every rank says where it is, in every kind of training."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from engine.telemetry.progress import Progress, progress_file, read_progress
from tests.train.conftest import MakeSpec
from tests.train.facts import wait_for_step
from tests.train.forkserver import ForkServer


def last_mark(run_dir: Path, rank: int) -> Progress:
    found = read_progress(progress_file(run_dir, rank))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["sft", "ppo"])
def test_every_rank_marks_its_way_to_the_end(
    server: ForkServer, make_spec: MakeSpec, make_ppo_spec: MakeSpec, tmp_path: Path, kind: str
) -> None:
    spec = make_ppo_spec(steps=2) if kind == "ppo" else make_spec(steps=2)
    job = server.start(spec, tmp_path / "run", world=2)
    assert job.wait() == [0, 0]
    for rank in range(2):
        assert last_mark(job.run_dir, rank)[:2] == (2, "export")


def test_while_one_rank_hangs_the_marks_of_all_stand_still(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    job = server.start(make_spec(steps=100_000), tmp_path / "run", world=2)
    wait_for_step(job.run_dir, 2)
    os.kill(job.pids[1], signal.SIGSTOP)
    time.sleep(1.0)  # the other reaches the collective operation where it has to wait
    marks = [last_mark(job.run_dir, rank) for rank in range(2)]
    time.sleep(0.2)
    assert [last_mark(job.run_dir, rank) for rank in range(2)] == marks
    assert marks[1].step <= marks[0].step
    for pid in job.pids:
        os.kill(pid, signal.SIGKILL)
    job.wait()
