"""A run that is killed or stopped anywhere goes on as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, wait_for_step, weights
from tests.train.forkserver import ForkServer, Job
from tests.train.killing import whole_and_resumed

STEPS, EVERY = 9, 3
EXACT = ("loss", "grad_norm", "lr", "tokens", "epoch", "eval_loss")


def start(server: ForkServer, spec: Path, run_dir: Path) -> Job:
    return server.start(spec, run_dir, world=2)


def assert_equal_runs(resumed: Path, whole: Path) -> None:
    for name in EXACT:
        assert series(resumed, name) == series(whole, name), name
    assert largest_difference(weights(resumed), weights(whole)) == 0.0


@pytest.mark.parametrize(
    ("stage", "precision"),
    [
        (2, "fp32"),
        (3, "fp32"),
        (1, "bf16"),
        *(pytest.param(*each, marks=pytest.mark.cluster) for each in ((0, "fp32"), (1, "fp32"), (0, "bf16"))),
    ],
)
def test_killed_at_any_step_it_resumes_bit_for_bit(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, stage: int, precision: str
) -> None:
    settings = {"steps": STEPS, "checkpoint_every": EVERY, "eval_every": 3, "sample_prompts": 0}
    spec = make_spec(zero_stage=stage, precision=precision, **settings)
    draw = f"{stage}{precision}"
    whole, resumed = whole_and_resumed(server, spec, tmp_path, steps=STEPS, every=EVERY, draw=draw)
    assert_equal_runs(resumed, whole)


def test_a_truncated_checkpoint_is_passed_over_for_the_one_before(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_spec(steps=STEPS, checkpoint_every=EVERY, zero_stage=2)
    whole = start(server, spec, tmp_path / "run")
    assert whole.wait() == [0, 0], whole.log()
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == ["step-00000006", "step-00000009"]
    loss, exported = series(whole.run_dir, "loss"), weights(whole.run_dir)
    damaged = next((tmp_path / "run/checkpoints/step-00000009").rglob("*optim_states.pt"))
    os.truncate(damaged, damaged.stat().st_size // 2)

    again = start(server, spec, tmp_path / "run")
    assert again.wait() == [0, 0], again.log()
    assert events(again.run_dir, "resumed")[0]["step"] == 6
    (warning,) = events(again.run_dir, "warning")
    assert "step-00000009" in warning["message"]
    assert damaged.name in warning["message"]
    assert series(again.run_dir, "loss") == loss
    assert largest_difference(weights(again.run_dir), exported) == 0.0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_rank_stops_all_with_a_checkpoint(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, number: signal.Signals
) -> None:
    spec = make_spec(steps=100_000, schedule={"kind": "constant"})
    job = start(server, spec, tmp_path / "run")
    wait_for_step(job.run_dir, 3)
    os.kill(job.pids[1], number)
    assert job.wait() == [130, 130], job.log()
    (stopped,) = events(job.run_dir, "stopped")
    (saved,) = events(job.run_dir, "checkpoint")
    assert stopped["step"] == saved["step"] >= 3
    assert (job.run_dir / saved["data"]["path"] / "COMPLETE").is_file()
    assert not (job.run_dir / "export").exists()
    assert max(series(job.run_dir, "loss")) == stopped["step"]


@pytest.mark.parametrize(
    ("stage", "world"), [(2, 3), (3, 1), *(pytest.param(*each, marks=pytest.mark.cluster) for each in ((0, 3), (1, 1)))]
)
def test_another_number_of_ranks_goes_on_with_the_same_numbers(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, stage: int, world: int
) -> None:
    spec = make_spec(steps=STEPS, checkpoint_every=EVERY, zero_stage=stage, keep_checkpoints=3)
    whole = start(server, spec, tmp_path / "run")
    assert whole.wait() == [0, 0], whole.log()
    loss, norm = series(whole.run_dir, "loss"), series(whole.run_dir, "grad_norm")
    for later in ("step-00000006", "step-00000009"):
        shutil.rmtree(tmp_path / "run/checkpoints" / later)

    resumed = server.start(spec, tmp_path / "run", world=world)
    assert resumed.wait() == [0] * world, resumed.log()
    assert events(resumed.run_dir, "resumed")[0]["step"] == EVERY
    (warning,) = events(resumed.run_dir, "warning")
    assert f"saved by 2 ranks and goes on with {world}" in warning["message"]
    assert series(resumed.run_dir, "loss") == pytest.approx(loss, rel=1e-5)
    assert series(resumed.run_dir, "grad_norm") == pytest.approx(norm, rel=1e-4)


def test_a_checkpoint_of_another_zero_stage_is_refused_in_one_sentence(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path
) -> None:
    assert start(server, make_spec(zero_stage=1), tmp_path / "run").wait() == [0, 0]
    job = start(server, make_spec(zero_stage=2), tmp_path / "run")
    assert job.wait() == [4, 4]
    assert "made with ZeRO stage 1 of the model, this run has 2" in job.log().splitlines()[-1]
