"""The launch form tells what a rank needs, where that can be said."""

from __future__ import annotations

import json
from pathlib import Path

from tui.intents import Intents, Request
from tui.plan_text import plan_lines

SPEC = """
kind: sft
model: {path: model}
data: {train: facts.jsonl}
train: {zero_stage: %d}
"""


def text_of(folder: Path, stage: int) -> str:
    """Return the plan of a launch on two nodes."""
    recipe, hostfile = folder / "sft.yaml", folder / "hosts"
    recipe.write_text(SPEC % stage)
    hostfile.write_text("node-1 slots=8\nnode-2 slots=8\n")
    plan = Intents(folder / "experiments.db").plan(Request(recipe, hostfile))
    return "\n".join(content.plain for _, content in plan_lines(plan, None))


def test_memory_is_told_where_the_model_is_known(tmp_path: Path) -> None:
    assert "a rank" not in text_of(tmp_path, 2), "the model is on the nodes only"
    model = tmp_path / "model"
    model.mkdir()
    shape = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 32000, **shape}))
    assert "of 80.0 GB a rank" in text_of(tmp_path, 2)
    assert "does not fit" in text_of(tmp_path, 0)
    (model / "config.json").write_text("{")
    assert "a rank" not in text_of(tmp_path, 2)
