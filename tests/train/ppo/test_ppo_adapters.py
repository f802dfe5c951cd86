"""PPO with adapters: over networks of their own, and over one base that all share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.conftest import EVAL_PROMPTS, MakeSpec
from tests.train.facts import largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

LORA = {"rank": 3, "alpha": 6.0}
STEPS = 3
BY_STEP = ("score", "kl", "entropy", "reward/judge", "policy_loss", "value_loss", "ptx_loss", "approx_kl")
RunSpec = Callable[..., Path]


@pytest.fixture(scope="module")
def adapted_judge(
    server: ForkServer, make_rm_spec: MakeSpec, causal: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A reward model that an adapter over the policy's base makes."""
    spec = make_rm_spec(model={"path": str(causal), "lora": LORA}, steps=4)
    job = server.start(spec, tmp_path_factory.mktemp("judge"), world=1)
    assert job.wait() == [0], job.log()
    return job.run_dir / "export"


@pytest.fixture
def run_spec(server: ForkServer, make_ppo_spec: MakeSpec, causal: Path, adapted_judge: Path, tmp_path: Path) -> RunSpec:
    """Return a function that runs PPO with adapters on so many ranks."""

    def run(world: int, *, shared: bool, warmup_steps: int = 1, **train: Any) -> Path:
        settings = {
            "model": {"path": str(causal), "lora": LORA},
            "rewards": {"judge": {"path": str(adapted_judge)}},
            "critic": {"share_base": shared, "lora": LORA, "lr": 2e-2, "warmup_steps": warmup_steps},
            "ptx": {"coef": 0.1},
        }
        spec = make_ppo_spec(
            settings=settings, **({"steps": STEPS, "lr": 2e-2, "sample_prompts": EVAL_PROMPTS} | train)
        )
        shutil.copyfile(spec, tmp_path / "spec.yaml")
        job = server.start(spec, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world=world)
        assert job.wait() == [0] * world, job.log()
        return job.run_dir

    return run


def test_one_shared_base_does_what_networks_of_their_own_do(run_spec: RunSpec) -> None:
    # Where they share an engine, the gradient would be clipped by the norm of both parts together, and the policy's
    # optimiser would count the steps in which only the critic learns.
    separate, shared = (run_spec(1, shared=shared, clip=0.0, warmup_steps=0) for shared in (False, True))
    for name in BY_STEP:
        assert series(shared, name) == pytest.approx(series(separate, name), rel=1e-4, abs=1e-6), name
    assert abs(series(separate, "kl")[STEPS]) > 1e-3  # the policy moved, its reference did not
    assert largest_difference(weights(shared), weights(separate)) < 1e-5


@pytest.mark.parametrize(
    ("shared", "stage", "world"),
    [
        (True, 2, 2),
        (True, 3, 2),
        pytest.param(True, 0, 2, marks=pytest.mark.cluster),
        *(pytest.param(False, stage, 2, marks=pytest.mark.cluster) for stage in (0, 2, 3)),
    ],
)
def test_ranks_and_zero_stages_agree_and_the_merged_export_answers_alike(
    run_spec: RunSpec, shared: bool, stage: int, world: int
) -> None:
    expected = run_spec(1, shared=shared, zero_stage=0)
    actual = run_spec(world, shared=shared, zero_stage=stage, micro_batch_size=5 if stage == 3 else 2)
    for name in BY_STEP:
        assert series(actual, name) == pytest.approx(series(expected, name), rel=5e-4, abs=5e-5), name
    assert largest_difference(weights(actual), weights(expected)) < 1e-4
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(actual / "export", dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(actual / "export")
    for sample in samples(actual):
        chat = [{"role": "user", "content": sample["prompt"]}]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        written = model.generate(prompt, max_new_tokens=6, do_sample=False)[0, prompt.shape[1] :]
        assert tokenizer.decode(written, skip_special_tokens=True).strip() == sample["response"]


def test_gradient_checkpointing_recomputes_with_the_right_adapter(run_spec: RunSpec) -> None:
    plain, recomputed = (
        run_spec(1, shared=True, zero_stage=0, gradient_checkpointing=recompute) for recompute in (False, True)
    )
    for name in BY_STEP:
        assert series(recomputed, name) == pytest.approx(series(plain, name), rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize(
    ("shared", "stage", "world"),
    [
        (True, 3, 2),
        (False, 2, 1),
        *(pytest.param(True, stage, world, marks=pytest.mark.cluster) for stage, world in ((0, 2), (2, 3))),
    ],
)
def test_adapters_resume_on_the_ranks_that_saved_them_and_on_others(
    run_spec: RunSpec, server: ForkServer, shared: bool, stage: int, world: int
) -> None:
    micro_batch_size = 5 if stage == 3 else 3  # under ZeRO 3 each micro-step takes its time
    settings = {"zero_stage": stage, "steps": 3, "checkpoint_every": 2, "micro_batch_size": micro_batch_size}
    whole = run_spec(2, shared=shared, **settings)
    expected, exported = {name: series(whole, name) for name in BY_STEP}, weights(whole)
    shutil.rmtree(whole / "checkpoints/step-00000003")
    spec = whole.parent / "spec.yaml"
    job = server.start(spec, whole, world=world)
    assert job.wait() == [0] * world, job.log()
    for name in BY_STEP:
        tolerance = {"rel": 0.0, "abs": 0.0} if world == 2 else {"rel": 5e-4, "abs": 5e-5}
        assert series(whole, name) == pytest.approx(expected[name], **tolerance), name
    assert largest_difference(weights(whole), exported) < (1e-4 if world != 2 else 1e-12)
