"""PPO: neither ranks nor micro-batches nor ZeRO stages change the run, and its export is what was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.train.conftest import EVAL_PROMPTS, MakeSpec
from tests.train.facts import events, largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

STEPS = 3
BY_STEP = (
    "score",
    "shaped_reward",
    "kl",
    "kl_per_token",
    "kl_coef",
    "entropy",
    "advantage",
    "response_length",
    "eos_rate",
    "reward/judge",
    "reward/short",
    "policy_loss",
    "value_loss",
    "explained_variance",
    "clip_fraction",
    "ratio",
    "approx_kl",
    "grad_norm",
    "value_grad_norm",
)
EVALUATED = ("eval_score", "eval_kl", "eval_response_length", "eval_reward/judge", "correct", "hallucinated/near")
RunSpec = Callable[..., Path]


def run(server: ForkServer, spec: Path, run_dir: Path, world: int) -> Path:
    job = server.start(spec, run_dir, world=world)
    assert job.wait() == [0] * world, job.log()
    return run_dir


@pytest.fixture(scope="module")
def expected(server: ForkServer, make_ppo_spec: MakeSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rank, no ZeRO, a whole minibatch in one forward pass, all answers decoded at once."""
    spec = make_ppo_spec(settings={"rollout": {"batch_size": 14}}, micro_batch_size=9, sample_prompts=EVAL_PROMPTS)
    return run(server, spec, tmp_path_factory.mktemp("expected"), 1)


@pytest.fixture
def run_spec(server: ForkServer, make_ppo_spec: MakeSpec, tmp_path: Path) -> RunSpec:
    """Return a function that runs a spec with these settings on so many ranks, each time in a new run directory."""
    return lambda world, **settings: run(
        server, make_ppo_spec(**settings), tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world
    )


def assert_same(run_dir: Path, expected: Path) -> None:
    for name in (*BY_STEP, *EVALUATED):
        points = series(expected, name)
        assert len(points) == (1 if name in EVALUATED else STEPS), name
        assert series(run_dir, name) == pytest.approx(points, rel=2e-4, abs=2e-5), name
    assert max(series(run_dir, "logprob_gap").values()) < 1e-5
    assert [sample["response"] for sample in samples(run_dir)] == [sample["response"] for sample in samples(expected)]
    assert largest_difference(weights(run_dir), weights(expected)) < 1e-4


@pytest.mark.parametrize(("stage", "world"), [(0, 2), (1, 4), (2, 3), (3, 2)])
def test_ranks_and_zero_stages_agree(run_spec: RunSpec, expected: Path, stage: int, world: int) -> None:
    assert_same(run_spec(world, zero_stage=stage, sample_prompts=EVAL_PROMPTS), expected)


def test_micro_batches_of_one_and_sharded_frozen_networks_change_nothing(run_spec: RunSpec, expected: Path) -> None:
    settings = {
        "critic": {"lr": 5e-3, "zero_stage": 3},
        "reference": {"zero_stage": 3},
        "rewards": {
            "judge": {"clip": 3.0, "zero_stage": 3},
            "short": {"kind": "length", "target": 2, "weight": 0.1, "normalise": "running"},
        },
    }
    actual = run_spec(2, settings=settings, micro_batch_size=1, zero_stage=1, sample_prompts=EVAL_PROMPTS)
    assert_same(actual, expected)


def test_the_export_answers_as_the_policy_did(run_spec: RunSpec) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    actual = run_spec(2, zero_stage=3, sample_prompts=EVAL_PROMPTS)
    (artifact,) = events(actual, "artifact")
    assert artifact["data"]["kind"] == "policy"
    model = AutoModelForCausalLM.from_pretrained(actual / "export", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(actual / "export")
    for sample in samples(actual):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": sample["prompt"]}], add_generation_prompt=True, return_tensors="pt"
        )["input_ids"]
        written = model.generate(prompt, max_new_tokens=6, do_sample=False)[0, prompt.shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == sample["response"]
