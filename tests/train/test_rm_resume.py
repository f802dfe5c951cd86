"""A reward model that is killed anywhere goes on as if nothing had happened."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import largest_difference, series, weights
from tests.train.forkserver import ForkServer
from tests.train.killing import whole_and_resumed

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
    whole, resumed = whole_and_resumed(server, spec, tmp_path, steps=STEPS, every=EVERY, draw=f"rm{stage}")
    for name in EXACT:
        assert series(resumed, name) == series(whole, name), name
    assert largest_difference(weights(resumed), weights(whole)) == 0.0
    assert config(resumed) == config(whole)


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
