"""The plan of an evaluation: a whole model on each rank, and the cache of what it writes at once."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Refused
from engine.plan.evaluation import EvalPlan, plan_evaluation
from engine.plan.generation import Decoding, generation_bytes
from engine.plan.networks import Network
from engine.plan.place import Place
from engine.plan.shape import shape_of_config
from engine.spec.models import EvalSpec

GIGA = 10**9
LLAMA_13B = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "max_position_embeddings": 4096,
    "dtype": "bfloat16",
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_13B))
    return tmp_path


def planned(folder: Path, capacity: int = 80 * GIGA, *, speed: float | None = None, **more: Any) -> EvalPlan:
    spec = EvalSpec.model_validate({"model": {"path": str(folder)}, "questions": "questions.jsonl", **more})
    return plan_evaluation(spec, Place((8, 8), capacity), questions=1000, tokens_per_second=speed)


def test_each_rank_has_a_whole_model_in_its_own_precision_and_writes_as_a_rollout_does(model: Path) -> None:
    shape = shape_of_config(LLAMA_13B)
    found = planned(model)
    assert found.fits and found.precision == "bf16"
    assert found.amounts.weights == 2 * shape.parameters
    assert found.amounts.generation == generation_bytes(Network(shape), "bf16", Decoding(16, 128, 64))
    assert found.host == pytest.approx(8 * 2 * shape.parameters, rel=0.04)
    wide = planned(model, model={"path": str(model), "precision": "fp32"})
    assert wide.amounts.weights == 4 * shape.parameters


def test_passages_make_prompts_longer_up_to_what_the_model_reads(model: Path) -> None:
    def prompt(passages: int) -> int:
        retrieval = {"index": "index", "passages": passages}
        return planned(model, passages="index", retrieval=retrieval).decoding.prompt

    assert planned(model).decoding.prompt < prompt(1) < prompt(3) < prompt(100) == 4096 - 64


def test_what_does_not_fit_is_told_with_a_way_out(model: Path) -> None:
    (whole,) = planned(model, 20 * GIGA).errors
    assert "each rank has a whole model of 26.0 GB: take a larger GPU" in whole
    (halved,) = planned(model, 20 * GIGA, model={"path": str(model), "precision": "fp32"}).errors
    assert "set model.precision=bf16, or take a larger GPU" in halved
    many = {"answers": {"batch_size": 4000}}
    (crowded,) = planned(model, **many).errors
    assert "lower answers.batch_size, which is 4000" in crowded
    long, *_ = planned(model, answers={"max_response_length": 4096}).errors
    assert "answers.max_response_length is 4096" in long
    choosing = planned(model, format="multiple_choice")
    assert choosing.fits and choosing.amounts.activations and not choosing.amounts.generation
    (model / "config.json").unlink()
    with pytest.raises(Refused):
        planned(model)


def test_time_is_that_of_the_longest_answers_drawn_ones_among_them(model: Path) -> None:
    assert planned(model).seconds is None
    answers = {"samples": 3, "max_response_length": 10}
    assert planned(model, speed=500.0, answers=answers).seconds == 1000 * 4 * 10 / 500


def test_what_a_plan_adds_up_to_is_its_total(model: Path) -> None:
    amounts = planned(model).amounts
    assert sum(dataclasses.asdict(amounts).values()) == amounts.total
