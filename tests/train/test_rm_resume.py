"""A reward model that is killed anywhere goes on as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, wait_for_step, weights
from tests.train.forkserver import ForkServer

STEPS, EVERY = 12, 4
EXACT = (
    "loss",
    "accuracy",
    "margin",
    "grad_norm",
    "lr",
    "tokens",
    "epoch",
    "eval_loss",
    "eval_accuracy",
    "eval_reward",
)


def config(run_dir: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads((run_dir / "export/config.json").read_text())
    return document


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_killed_at_any_step_it_resumes_bit_for_bit(
    server: ForkServer, make_rm_spec: MakeSpec, tmp_path: Path, stage: int
) -> None:
    spec = make_rm_spec(zero_stage=stage, steps=STEPS, checkpoint_every=EVERY, eval_every=3)
    whole = server.start(spec, tmp_path / "whole", world=2)
    assert whole.wait() == [0, 0], whole.log()

    killed = server.start(spec, tmp_path / "killed", world=2)
    step = random.Random(f"rm{stage}").randint(EVERY + 1, STEPS - 1)
    wait_for_step(killed.run_dir, step)
    os.kill(killed.pids[step % 2], signal.SIGKILL)
    assert -signal.SIGKILL in killed.wait()

    resumed = server.start(spec, tmp_path / "killed", world=2)
    assert resumed.wait() == [0, 0], resumed.log()
    assert events(resumed.run_dir, "resumed")[0]["step"] in range(EVERY, STEPS, EVERY)
    for name in EXACT:
        assert series(resumed.run_dir, name) == series(whole.run_dir, name), name
    assert largest_difference(weights(resumed.run_dir), weights(whole.run_dir)) == 0.0
    assert config(resumed.run_dir) == config(whole.run_dir)


def test_killed_before_the_export_it_exports_what_the_checkpoint_holds(
    server: ForkServer, make_rm_spec: MakeSpec, tmp_path: Path
) -> None:
    spec = make_rm_spec()
    first = server.start(spec, tmp_path / "run", world=1)
    assert first.wait() == [0], first.log()
    before = config(first.run_dir)
    assert before["reward_std"] != 1.0
    shutil.rmtree(first.run_dir / "export")
    again = server.start(spec, tmp_path / "run", world=1)
    assert again.wait() == [0], again.log()
    assert config(again.run_dir) == before
