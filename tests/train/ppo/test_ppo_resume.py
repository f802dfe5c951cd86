"""PPO that is killed anywhere goes on as if nothing had happened."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, weights
from tests.train.forkserver import ForkServer
from tests.train.killing import whole_and_resumed

STEPS, EVERY = 6, 2
PACE = ("seconds", "per_second", "memory_bytes")


def everything(run_dir: Path) -> dict[str, dict[int, float]]:
    """All series but those of pace."""
    import json

    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    names = {name for line in lines for name in line.get("metrics", ())}
    return {name: series(run_dir, name) for name in names if not any(word in name for word in PACE)}


# All that has a state: an adaptive coefficient, a running normaliser, an average, and PTX data.
SETTINGS: dict[str, Any] = {
    "ppo": {"inner_epochs": 2, "kl_target": 0.5, "kl_horizon": 500.0, "ema_decay": 0.8},
    "ptx": {"coef": 0.5},
    "critic": {"lr": 5e-3, "warmup_steps": 1},
}


@pytest.mark.parametrize(
    ("stage", "precision"),
    [(3, "fp32"), (1, "bf16"), *(pytest.param(stage, "fp32", marks=pytest.mark.cluster) for stage in (0, 2))],
)
def test_killed_at_any_step_it_resumes_bit_for_bit(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path, stage: int, precision: str
) -> None:
    spec = make_ppo_spec(
        settings=SETTINGS,
        zero_stage=stage,
        precision=precision,
        steps=STEPS,
        checkpoint_every=EVERY,
        eval_every=2,
        micro_batch_size=5 if stage == 3 else 3,  # under ZeRO 3 each micro-step takes its time
    )
    draw = f"ppo{stage}{precision}"
    whole, resumed = whole_and_resumed(server, spec, tmp_path, steps=STEPS, every=EVERY, draw=draw)
    expected = everything(whole)
    assert {"ptx_loss", "kl_coef", "reward/short", "eval_score", "value_loss"} <= expected.keys()
    assert everything(resumed) == expected
    assert min(series(whole, "policy_loss")) == 2  # the critic alone learned before
    assert largest_difference(weights(resumed), weights(whole)) == 0.0
    averages = [weights(run_dir, "export-average") for run_dir in (resumed, whole)]
    assert largest_difference(*averages) == 0.0
    assert largest_difference(averages[0], weights(whole)) > 0.0


@pytest.mark.parametrize(("stage", "world"), [(2, 3), (3, 1)])
def test_another_number_of_ranks_goes_on_with_the_same_numbers(
    server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path, stage: int, world: int
) -> None:
    spec = make_ppo_spec(settings=SETTINGS, zero_stage=stage, steps=2 * EVERY, checkpoint_every=EVERY)
    whole = server.start(spec, tmp_path / "run", world=2)
    assert whole.wait() == [0, 0], whole.log()
    names = ("score", "kl", "kl_coef", "value_loss", "ptx_loss", "entropy")
    expected = {name: series(whole.run_dir, name) for name in names}
    average = weights(whole.run_dir, "export-average")
    shutil.rmtree(tmp_path / f"run/checkpoints/step-{2 * EVERY:08d}")

    resumed = server.start(spec, tmp_path / "run", world=world)
    assert resumed.wait() == [0] * world, resumed.log()
    assert events(resumed.run_dir, "resumed")[0]["step"] == EVERY
    for name in names:
        assert series(resumed.run_dir, name) == pytest.approx(expected[name], rel=2e-4, abs=2e-5), name
    assert largest_difference(weights(resumed.run_dir, "export-average"), average) < 1e-5
