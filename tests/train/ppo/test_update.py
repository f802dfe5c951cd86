"""The passes over a rollout: what ends them, what they leave alone, and what each setting changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import MakeSpec
from tests.train.facts import events, largest_difference, series, weights
from tests.train.forkserver import ForkServer

LORA = {"rank": 3, "alpha": 6.0}
EPISODES = 14  # of a rollout of the fixture's spec
RunPpo = Callable[..., Path]


@pytest.fixture
def run(server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path) -> RunPpo:
    """Return a function that runs PPO on one rank, with minibatches that hold a whole rollout."""

    def run(**settings: Any) -> Path:
        train = {name: settings.pop(name) for name in ("steps", "lr", "optimizer") if name in settings}
        ppo = {"kl_target": None, "kl_coef": 0.05, "inner_epochs": 2} | settings.pop("ppo", {})
        spec = make_ppo_spec(
            settings={"ppo": ppo} | settings,
            **({"lr": 2e-2, "batch_size": EPISODES, "micro_batch_size": EPISODES} | train),
        )
        job = server.start(spec, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world=1)
        assert job.wait() == [0], job.log()
        return job.run_dir

    return run


def same_run(one: Path, other: Path) -> bool:
    return largest_difference(weights(one), weights(other)) == 0.0


def test_the_passes_end_with_the_one_that_finds_the_policy_too_far_from_its_answers(run: RunPpo) -> None:
    # In the first pass the policy is the one that sampled; the second one finds it moved, and is the last.
    stopped = run(ppo={"inner_epochs": 5, "early_stop_kl": 1e-4})
    assert set(series(stopped, "early_stops").values()) == {1.0}
    assert same_run(stopped, run(ppo={"inner_epochs": 2}))
    never = run(ppo={"inner_epochs": 2, "early_stop_kl": 1e4})
    assert set(series(never, "early_stops").values()) == {0.0}
    assert same_run(stopped, never)
    assert not same_run(stopped, run(ppo={"inner_epochs": 3}))


@pytest.mark.parametrize("shared", [False, True])
def test_while_the_critic_warms_up_the_policy_stays_as_it_was(run: RunPpo, causal: Path, shared: bool) -> None:
    model = {"path": str(causal)} | ({"lora": LORA} if shared else {})
    critic = {"lr": 2e-2, "share_base": shared}
    decay = {"weight_decay": 0.1}  # which would shrink the weights also without a gradient
    warming = run(critic=critic | {"warmup_steps": 3}, model=model, steps=3, optimizer=decay)
    start = weights(causal.parent, causal.name)
    assert largest_difference(weights(warming), start) == 0.0
    assert series(warming, "value_loss").keys() == {1, 2, 3}
    explained = series(warming, "explained_variance")
    assert explained[1] == 0.0 != explained[2]  # the critic did not stay: its head starts at zero
    assert not series(warming, "policy_loss")
    guided = run(critic=critic | {"warmup_steps": 2}, model=model, steps=3, optimizer=decay)
    assert series(guided, "policy_loss").keys() == {3}
    assert largest_difference(weights(guided), start) > 1e-3


@pytest.mark.parametrize("estimator", ["rloo", "grpo"])
def test_without_a_critic_a_run_has_none_and_learns(run: RunPpo, estimator: str) -> None:
    rewards = {"short": {"kind": "length", "target": 1}}
    ppo = {"estimator": estimator, "truncation": "keep", "kl_coef": 0.0}
    run_dir = run(ppo=ppo, rewards=rewards, rollout={"prompts": 8, "samples_per_prompt": 4, "batch_size": 32}, steps=12)
    for name in ("value_loss", "value_grad_norm", "explained_variance"):
        assert not series(run_dir, name)
    (checkpoint,) = events(run_dir, "checkpoint")
    assert {path.name for path in (run_dir / checkpoint["data"]["path"]).iterdir() if path.is_dir()} == {"policy"}
    lengths = series(run_dir, "response_length")
    assert lengths[12] < lengths[1] - 1.0


def test_an_entropy_bonus_keeps_the_policy_uncertain(run: RunPpo) -> None:
    plain, bonus = (series(run(ppo={"entropy_coef": coef}, steps=5), "entropy") for coef in (0.0, 2.0))
    assert bonus[1] == plain[1]
    assert bonus[5] > plain[5] + 0.05


def test_the_dual_clip_bounds_what_bad_answers_do(run: RunPpo) -> None:
    # By the third pass some bad answers have become likelier, whose loss has no other bound.
    plain, bounded = (run(ppo={"dual_clip": clip, "inner_epochs": 4}, lr=5e-2, steps=1) for clip in (None, 1.01))
    assert series(bounded, "policy_loss")[1] < series(plain, "policy_loss")[1]
    assert not same_run(plain, bounded)
