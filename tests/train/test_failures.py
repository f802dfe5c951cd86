"""What goes wrong is told in one line, and no rank waits for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, wait_for_step
from tests.train.forkserver import ForkServer, Job


def last_line(job: Job, rank: int = 0) -> str:
    log = job.log(rank)
    assert "Traceback" not in log
    return log.splitlines()[-1]


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (2, "fp32"), (3, "bf16")])
def test_a_loss_that_is_not_finite_ends_all_ranks_and_names_the_step(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, stage: int, precision: str
) -> None:
    spec = make_spec(
        lr=1e30, zero_stage=stage, precision=precision, schedule={"kind": "constant"}, checkpoint_every=1, steps=50
    )
    job = server.start(spec, tmp_path / "run", world=2)
    assert job.wait() == [1, 1]
    for rank in range(2):
        line = last_line(job, rank)
        assert line.startswith("error: ")
        assert "at step 2" in line
    (failed,) = events(job.run_dir, "failed")
    assert failed["level"] == "error"
    assert "at step 2" in failed["message"]
    assert "Traceback" in failed["data"]["traceback"]


def test_a_killed_rank_ends_the_others_with_a_sentence(server: ForkServer, make_spec: MakeSpec, tmp_path: Path) -> None:
    job = server.start(make_spec(steps=100_000), tmp_path / "run", world=2)
    wait_for_step(job.run_dir, 2)
    os.kill(job.pids[1], signal.SIGKILL)
    assert job.wait() == [1, -signal.SIGKILL]
    assert "lost contact with another rank while training step" in last_line(job)


def test_a_frozen_rank_ends_the_others_after_the_timeout(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    job = server.start(make_spec(steps=100_000, timeout_seconds=2), tmp_path / "run", world=2)
    wait_for_step(job.run_dir, 2)
    os.kill(job.pids[0], signal.SIGSTOP)
    assert job.wait(1) == [1]
    os.kill(job.pids[0], signal.SIGKILL)
    assert job.wait(0) == [-signal.SIGKILL]
    assert "lost contact with another rank" in last_line(job, 1)


def test_a_rank_that_never_comes_is_counted(server: ForkServer, make_spec: MakeSpec, tmp_path: Path) -> None:
    job = server.start(make_spec(timeout_seconds=2), tmp_path / "run", world=2, ranks=[0])
    assert job.wait() == [5]
    assert "only 1/2 ranks came within 2 s" in last_line(job)


def test_a_missing_model_and_a_missing_file_are_named(server: ForkServer, make_spec: MakeSpec, tmp_path: Path) -> None:
    job = server.start(make_spec(model={"path": str(tmp_path / "no-model")}), tmp_path / "one", world=1)
    assert job.wait() == [3]
    assert f"{tmp_path}/no-model: there is no model" in last_line(job)
    job = server.start(make_spec(data_settings={"train": str(tmp_path / "no.jsonl")}), tmp_path / "two", world=1)
    assert job.wait()[0] in (2, 3, 4)
    assert str(tmp_path / "no.jsonl") in last_line(job)


def test_rows_longer_than_the_model_are_refused(server: ForkServer, make_spec: MakeSpec, tmp_path: Path) -> None:
    small = {"hidden_size": 16, "layers": 1, "heads": 1, "intermediate_size": 16, "max_positions": 8}
    spec = make_spec(model={"architecture": small, "tokenizer": {"kind": "word"}})
    job = server.start(spec, tmp_path / "run", world=1)
    assert job.wait() == [2]
    assert "the model has 8 positions" in last_line(job)
