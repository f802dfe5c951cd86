"""The launch form tells what a rank needs, where that can be said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import Refused
from tui.form.launches import Launcher, Request
from tui.form.plan_text import plan_lines

SPEC = """
kind: sft
model: {path: model}
data: {train: facts.jsonl}
train: {zero_stage: %d}
"""


PPO = """
kind: ppo
model: {path: model}
rewards: {faithful: {path: reward, weight: 2}, brief: {kind: length, weight: .5}}
data: {train: prompts.jsonl, max_response_length: 64}
rollout: {samples_per_prompt: 4}
ppo: {estimator: rloo}
"""


def text_of(folder: Path, spec: str) -> str:
    """Return the plan of a launch on two nodes."""
    recipe, hostfile = folder / "spec.yaml", folder / "hosts"
    recipe.write_text(spec)
    hostfile.write_text("node-1 slots=8\nnode-2 slots=8\n")
    plan = Launcher(folder / "experiments.db", lambda path: None).plan(Request(recipe, hostfile))
    return "\n".join(content.plain for _, content in plan_lines(plan, None))


def test_ppo_is_told_in_its_own_words(tmp_path: Path) -> None:
    text = text_of(tmp_path, PPO)
    assert "prompts.jsonl, at most 256 tokens a prompt and 64 an answer" in text
    assert "2 faithful, 0.5 brief" in text
    assert "128 prompts a step, 4 answers to each; rloo" in text
    assert "64 episodes an update, 8 at a time" in text


def test_memory_is_told_where_the_model_is_known(tmp_path: Path) -> None:
    unknown = text_of(tmp_path, SPEC % 2)
    assert "a rank" not in unknown and "! Not checked whether it fits:" in unknown, "the model is on the nodes only"
    model = tmp_path / "model"
    model.mkdir()
    shape = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 32000, **shape}))
    assert "of 80.0 GB a rank" in text_of(tmp_path, SPEC % 2)
    with pytest.raises(Refused, match="--gpu-memory SIZE") as refused:
        text_of(tmp_path, SPEC % 0)
    assert "80.0 GB" in refused.value.message and refused.value.where == str(tmp_path / "spec.yaml")
    (model / "config.json").write_text("{")
    assert "a rank" not in text_of(tmp_path, SPEC % 2)
