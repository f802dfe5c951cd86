"""Without a shared file system each node has a run directory, with its own part of every checkpoint."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, weights
from tests.train.forkserver import ForkServer, Job

STEPS, EVERY = 6, 2
EXACT = ("loss", "grad_norm", "lr", "tokens", "epoch", "eval_loss")
EFFECTS = 10  # on its files that a rank has in a checkpoint, at least


def spec_of(make_spec: MakeSpec, stage: int, precision: str = "fp32") -> Path:
    return make_spec(steps=STEPS, checkpoint_every=EVERY, zero_stage=stage, precision=precision, sample_prompts=0)


def assert_equal_runs(one: Path, other: Path) -> None:
    for name in EXACT:
        assert series(one, name) == series(other, name), name
    assert largest_difference(weights(one), weights(other)) == 0.0


@pytest.mark.parametrize(("stage", "precision"), [(0, "fp32"), (2, "bf16"), (3, "fp32")])
def test_killed_while_it_saves_again_and_again_it_equals_a_run_with_a_shared_folder(
    server: ForkServer, make_spec: MakeSpec, tmp_path: Path, stage: int, precision: str
) -> None:
    spec, draw = spec_of(make_spec, stage, precision), random.Random(stage)
    whole = server.start(spec, tmp_path / "whole", world=2)
    assert whole.wait() == [0, 0], whole.log()

    kills = 2 if stage == 3 else 1
    # In the second checkpoint or at the beginning of the third, then in the next one.
    for rank, first, last in ((1, EFFECTS + 5, 2 * EFFECTS + 5), (0, 1, EFFECTS))[:kills]:
        dies = {rank: draw.randint(first, last)}
        killed = server.start(spec, tmp_path / "own", world=2, apart=True, dies=dies)
        assert killed.wait()[rank] == -signal.SIGKILL, killed.log(rank)
    ended = server.start(spec, tmp_path / "own", world=2, apart=True)
    assert ended.wait() == [0, 0], ended.log() + ended.log(1)
    resumed = [event["step"] for event in events(ended.run_dir, "resumed")]
    assert len(resumed) == kills and 2 <= resumed[0] <= resumed[-1] < STEPS
    assert not events(ended.run_dir, "warning")
    assert_equal_runs(ended.run_dir, whole.run_dir)


@pytest.fixture(scope="module")
def finished(server: ForkServer, make_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A spec and a run of it that has ended well: the last two checkpoints are in its two run directories."""
    spec = spec_of(make_spec, 2)
    job = server.start(spec, tmp_path_factory.mktemp("finished") / "run", world=2, apart=True)
    assert job.wait() == [0, 0], job.log()
    return spec, job


@pytest.fixture
def copied(finished: tuple[Path, Job], tmp_path: Path) -> tuple[Path, Path]:
    """The spec, and a copy of the run to be changed."""
    spec, job = finished
    return spec, Path(shutil.copytree(job.run_dir, tmp_path / "run"))


def test_what_one_node_lacks_or_has_damaged_both_pass_over(
    server: ForkServer, copied: tuple[Path, Path], finished: tuple[Path, Job]
) -> None:
    spec, run = copied
    damaged = next((run / "apart-1/checkpoints/step-00000006").rglob("*optim_states.pt"))
    os.truncate(damaged, damaged.stat().st_size // 2)
    again = server.start(spec, run, world=2, apart=True)
    assert again.wait() == [0, 0], again.log() + again.log(1)
    assert events(run, "resumed")[0]["step"] == 4
    (warning,) = events(run, "warning")
    assert "checkpoint step-00000006 is ignored" in warning["message"]
    assert damaged.name in warning["message"] and "(rank 1)" in warning["message"]
    assert_equal_runs(run, finished[1].run_dir)


def test_a_new_node_and_another_number_of_ranks_are_refused_in_one_sentence(
    server: ForkServer, copied: tuple[Path, Path]
) -> None:
    spec, run = copied
    shutil.rmtree(run / "apart-1")
    for world, why in ((2, "(rank 1) cannot see what is needed of it"), (1, "so it cannot go on with 1 rank.")):
        job = server.start(spec, run, world=world, apart=True)
        assert job.wait() == [4] * world, job.log()
        (line,) = [line for line in job.log().splitlines() if line.startswith("error: ")][-1:]
        assert "checkpoint step-00000006 is split over " in line and " (rank 0) and " in line and why in line


@pytest.mark.cluster
def test_what_all_nodes_have_goes_on_anywhere_once_it_is_in_one_folder(
    server: ForkServer, copied: tuple[Path, Path], finished: tuple[Path, Job]
) -> None:
    spec, run = copied
    for checkpoints in (run / "checkpoints", run / "apart-1/checkpoints"):
        shutil.rmtree(checkpoints / "step-00000006")
    shutil.copytree(run / "apart-1/checkpoints", run / "checkpoints", dirs_exist_ok=True)
    job = server.start(spec, run, world=3)
    assert job.wait() == [0, 0, 0], job.log()
    assert events(run, "resumed")[0]["step"] == 4
    assert series(run, "loss") == pytest.approx(series(finished[1].run_dir, "loss"), rel=1e-5)


def test_averaged_weights_are_remembered_by_every_node(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_ppo_spec(settings={"ppo": {"ema_decay": 0.6}}, lr=1e-2, zero_stage=2, checkpoint_every=1, steps=2)
    job = server.start(spec, tmp_path / "run", world=2, apart=True)
    assert job.wait() == [0, 0], job.log() + job.log(1)
    average = weights(job.run_dir, "export-average")
    for folder in (job.run_dir, job.run_dir / "apart-1"):
        shutil.rmtree(folder / "checkpoints/step-00000002")
    again = server.start(spec, tmp_path / "run", world=2, apart=True)
    assert again.wait() == [0, 0], again.log() + again.log(1)
    assert events(job.run_dir, "resumed")[0]["step"] == 1
    assert largest_difference(weights(job.run_dir, "export-average"), average) == 0.0
