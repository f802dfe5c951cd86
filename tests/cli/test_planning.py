"""`engine launch` refuses what its plan says cannot run, unless it is forced; what cannot be planned here passes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.dispatch import lifecycle
from engine.spec.loading import parse_spec
from engine.store import experiments
from engine.store.database import Store
from tests.cli.conftest import SPEC, Engine

HUGE = {
    "model_type": "llama",
    "vocab_size": 32000,
    "hidden_size": 16384,
    "intermediate_size": 53248,
    "num_hidden_layers": 126,
    "num_attention_heads": 128,
    "architectures": ["LlamaForCausalLM"],
}
SMALL = {**HUGE, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
SFT = "kind: sft\nmodel: {path: model}\ndata: {train: train.jsonl}\ntrain: {zero_stage: 0}\n"
PPO = """
kind: ppo
model: {path: model}
rewards: {short: {kind: length}}
data: {train: train.jsonl}
rollout: {prompts: 8}
train: {batch_size: 16}
"""


@pytest.fixture
def house(database: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with sft.yaml and ppo.yaml, and a database with an experiment that nothing after it survives."""
    write_model(tmp_path, HUGE)
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "response": "b"}\n')
    (tmp_path / "sft.yaml").write_text(SFT)
    (tmp_path / "ppo.yaml").write_text(PPO)
    (tmp_path / "hosts").write_text("worker-1 slots=8\n")
    store = Store.open(database)
    experiments.create(store, parse_spec(SPEC.replace("train.jsonl", "/gone.jsonl")), name="never")
    store.close()
    yield tmp_path
    lifecycle.stop(database)


def write_model(folder: Path, config: dict[str, Any]) -> None:
    (folder / "model").mkdir(exist_ok=True)
    (folder / "model" / "config.json").write_text(json.dumps(config))


def launched(engine: Engine) -> list[str]:
    return [row["id"] for row in engine("ls", "--json").json if row["name"] != "never"]


@pytest.mark.parametrize("where", [(), ("--hostfile", "hosts")])
def test_what_cannot_fit_is_refused_unless_forced(engine: Engine, house: Path, where: tuple[str, ...]) -> None:
    where = tuple(str(house / word) if word == "hosts" else word for word in where)
    refused = engine("launch", str(house / "sft.yaml"), *where, "--json")
    assert refused.code == 4 and launched(engine) == []
    error = refused.json["error"]
    assert "ZeRO 0 takes" in error["message"] and "no ZeRO stage fits" in error["message"]
    assert error["where"].endswith("sft.yaml") and "--force" in error["hint"]
    assert ("--gpu-memory" in error["hint"]) == bool(where), "nobody said what the GPUs of the nodes have"
    forced = engine("launch", str(house / "sft.yaml"), *where, "--force", "--after", "never")
    assert forced.code == 0 and launched(engine) == ["sft-0002"]


def test_the_size_of_the_gpus_decides(engine: Engine, house: Path) -> None:
    arguments = ("launch", str(house / "sft.yaml"), "--hostfile", str(house / "hosts"), "--after", "never")
    refused = engine(*arguments, "--gpu-memory", "100GB")
    assert refused.code == 4 and "there are 100.0 GB" in refused.err and "have another size" not in refused.err
    assert engine(*arguments, "--gpu-memory", "100TB").code == 0
    assert engine(*arguments, "--gpu-memory", "much").code == 2


def test_a_batch_that_no_rollout_fills_is_refused(engine: Engine, house: Path) -> None:
    write_model(house, SMALL)
    refused = engine("launch", str(house / "ppo.yaml"), "--after", "never")
    assert refused.code == 4 and "16 episodes an optimiser step, and a rollout has 8" in refused.err
    mended = engine("launch", str(house / "ppo.yaml"), "--after", "never", "--set", "train.batch_size=8")
    assert mended.code == 0 and launched(engine) == ["ppo-0001"]


def test_one_refusal_launches_none_of_several(engine: Engine, house: Path) -> None:
    write_model(house, SMALL)
    files = (str(house / "sft.yaml"), str(house / "ppo.yaml"))
    assert engine("launch", *files).code == 4 and launched(engine) == []


def test_what_is_on_the_nodes_only_is_launched_with_a_warning(engine: Engine, house: Path) -> None:
    (house / "model" / "config.json").unlink()
    passed = engine("launch", str(house / "sft.yaml"), "--hostfile", str(house / "hosts"), "--after", "never")
    assert passed.code == 0 and "not checked whether it fits" in passed.err and "config.json" in passed.err
    (house / "model" / "config.json").write_text('{"model_type": "llama"')
    passed = engine("launch", str(house / "sft.yaml"), "--after", "never")
    assert passed.code == 0 and "not checked whether it fits" in passed.err


def test_a_placement_that_the_hostfile_has_not_is_refused(engine: Engine, house: Path) -> None:
    write_model(house, SMALL)
    arguments = ("launch", str(house / "sft.yaml"), "--hostfile", str(house / "hosts"))
    refused = engine(*arguments, "--set", "placement.nodes=2")
    assert refused.code == 4 and "the hostfile has 1" in refused.err


def test_a_spec_of_settings_alone_needs_no_file(engine: Engine, house: Path) -> None:
    missing = engine("launch", "--kind", "sft", "--set", f"model.path={house / 'model'}")
    assert missing.code == 2 and "--kind sft: data.train is missing" in missing.err
    assert engine("launch", "--kind", "sfft").code == 2 and engine("launch", "--kind", "sft", "x.yaml").code == 2
    write_model(house, SMALL)
    settings = (f"model.path={house / 'model'}", f"data.train={house / 'train.jsonl'}")
    words = [word for setting in settings for word in ("--set", setting)]
    queued = engine("launch", "--kind", "sft", *words, "--after", "never")
    assert queued.code == 0 and launched(engine) == ["sft-0002"]
