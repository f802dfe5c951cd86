"""Adapters train over a frozen model, and leave merged into it and as an adapter of peft."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.job.durable import folder_hash
from tests.train.conftest import EVAL_PAIRS, MakeSpec
from tests.train.facts import largest_difference, samples, series, weights
from tests.train.forkserver import ForkServer

STEPS = 5
LORA = {"rank": 4, "alpha": 16.0}
BLOCK_LAYERS = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]


RunSpec = Callable[..., Path]


def run(server: ForkServer, spec: Path, run_dir: Path, world: int) -> Path:
    job = server.start(spec, run_dir, world=world)
    assert job.wait() == [0] * world, job.log()
    return run_dir


@pytest.fixture
def run_spec(server: ForkServer, make_spec: MakeSpec, make_rm_spec: MakeSpec, causal: Path, tmp_path: Path) -> RunSpec:
    """Return a function that trains adapters over the causal model, each time in a new run directory."""

    def train(world: int, *, kind: str = "sft", **settings: Any) -> Path:
        make = make_spec if kind == "sft" else make_rm_spec
        spec = make(model={"path": str(causal), "lora": LORA}, **settings)
        return run(server, spec, tmp_path / f"run-{len(list(tmp_path.iterdir()))}", world)

    return train


def logits(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


def with_peft(base: Any, run_dir: Path) -> Any:
    """The exported adapter over the base again, by peft alone."""
    from peft import PeftModel

    return PeftModel.from_pretrained(base, run_dir / "export/adapter")


def assert_only_targets_changed(run_dir: Path, base: Path, *, heads: int) -> None:
    from safetensors.torch import load_file

    before, after = load_file(base / "model.safetensors"), weights(run_dir)
    changed = {name for name in after if name not in before or not torch.equal(after[name], before[name])}
    assert {name.split(".")[-2] for name in changed} == {*BLOCK_LAYERS, *(["score"] if heads else [])}
    assert len(changed) == 2 * len(BLOCK_LAYERS) + heads


@pytest.fixture(scope="module")
def expected(server: ForkServer, make_spec: MakeSpec, causal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rank, no ZeRO, the whole batch in one forward pass."""
    spec = make_spec(model={"path": str(causal), "lora": LORA}, micro_batch_size=10)
    return run(server, spec, tmp_path_factory.mktemp("expected"), 1)


@pytest.mark.parametrize(
    ("world", "settings"),
    [
        (2, {"zero_stage": 0}),
        (2, {"zero_stage": 1, "gradient_checkpointing": True}),
        (3, {"zero_stage": 2, "offload_optimizer": True}),
        (2, {"zero_stage": 3, "gradient_checkpointing": True}),
    ],
)
def test_all_stages_train_alike_and_both_exports_compute_what_the_engine_computed(
    run_spec: RunSpec, causal: Path, expected: Path, world: int, settings: dict[str, object]
) -> None:
    from transformers import AutoModelForCausalLM

    actual = run_spec(world, **settings)
    for name in ("loss", "grad_norm", "eval_loss"):
        points = series(expected, name)
        assert len(points) == (1 if name == "eval_loss" else STEPS)
        assert series(actual, name) == pytest.approx(points, rel=1e-5), name
    assert series(actual, "loss")[STEPS] < 0.8 * series(actual, "loss")[1]
    assert largest_difference(weights(actual), weights(expected)) < 1e-4
    assert samples(actual)[0]["response"] == samples(expected)[0]["response"]
    assert_only_targets_changed(actual, causal, heads=0)

    ids = torch.arange(3, 19).reshape(2, 8)
    merged = logits(AutoModelForCausalLM.from_pretrained(actual / "export", dtype=torch.float32), ids)
    base = AutoModelForCausalLM.from_pretrained(causal, dtype=torch.float32)
    plain = logits(base, ids)
    torch.testing.assert_close(logits(with_peft(base, actual), ids), merged, atol=1e-5, rtol=0)
    assert (merged - plain).abs().max() > 0.1


@pytest.mark.parametrize(("stage", "world"), [(0, 1), (1, 2), (2, 2), (3, 2)])
def test_a_reward_model_keeps_its_head_in_both_exports(run_spec: RunSpec, causal: Path, stage: int, world: int) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    actual = run_spec(world, kind="rm", zero_stage=stage, sample_prompts=EVAL_PAIRS)
    assert series(actual, "loss")[STEPS] < 0.8 * series(actual, "loss")[1]
    assert_only_targets_changed(actual, causal, heads=1)

    base = AutoModelForSequenceClassification.from_pretrained(causal, num_labels=1, dtype=torch.float32)
    whole = AutoModelForSequenceClassification.from_pretrained(actual / "export", dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(actual / "export")
    base.config.pad_token_id = tokenizer.pad_token_id
    adapted = with_peft(base, actual)
    for sample in samples(actual):
        turns = {"user": sample["prompt"], "assistant": sample["response"]}
        text = [{"role": role, "content": content} for role, content in turns.items()]
        ids = tokenizer.apply_chat_template(text, return_tensors="pt", return_dict=True)["input_ids"]
        assert float(logits(whole, ids)) == pytest.approx(sample["scores"]["reward"], abs=1e-5)
        assert float(logits(adapted, ids)) == pytest.approx(sample["scores"]["reward"], abs=1e-5)


def test_the_adapter_says_what_it_stands_on_and_its_files_are_the_same_each_time(
    run_spec: RunSpec, causal: Path, expected: Path
) -> None:
    config = json.loads((expected / "export/adapter/adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(causal)
    assert config["revision"] == folder_hash(causal)
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 16.0, BLOCK_LAYERS)
    assert (config["task_type"], config["modules_to_save"]) == ("CAUSAL_LM", None)
    again = run_spec(1, micro_batch_size=10)
    assert folder_hash(again / "export/adapter") == folder_hash(expected / "export/adapter")


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_in_bf16_adapters_learn_what_they_learn_in_fp32(run_spec: RunSpec, stage: int) -> None:
    losses = [
        series(run_spec(2, zero_stage=stage, precision=precision, lr=3e-3), "loss") for precision in ("fp32", "bf16")
    ]
    assert losses[1] == pytest.approx(losses[0], rel=2e-2)
    assert losses[1][STEPS] < 0.9 * losses[1][1]


def test_a_target_that_is_no_linear_layer_is_told_with_those_there_are(
    server: ForkServer, make_spec: MakeSpec, causal: Path, tmp_path: Path
) -> None:
    spec = make_spec(model={"path": str(causal), "lora": {"targets": ["q_proj", "lm_head"]}})
    job = server.start(spec, tmp_path / "run", world=1)
    assert job.wait() == [2]
    told = "model.lora.targets names 'lm_head'; the linear layers that take an adapter are "
    assert told + ", ".join(BLOCK_LAYERS) in job.log().splitlines()[-1]
