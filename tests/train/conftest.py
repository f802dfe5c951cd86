"""A running fork server, a small data set, and specs on it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.train.forkserver import ForkServer

MakeSpec = Callable[..., Path]

TRAIN_ROWS, EVAL_ROWS = 41, 7
TRAIN_PAIRS, EVAL_PAIRS = 33, 9
TRAIN_PROMPTS, EVAL_PROMPTS = 17, 5
NAMES = ["ada", "bo", "cy", "dee", "eli", "fay", "gus", "hal"]
PLACES = ["oslo", "rome", "lima", "cairo", "perth"]


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    with ForkServer() as running:
        yield running


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and eval.jsonl: questions of different lengths."""
    folder = tmp_path_factory.mktemp("data")
    draw = random.Random(0)

    def row() -> dict[str, str]:
        friends = " and ".join(draw.sample(NAMES, draw.randint(1, 4)))
        places = " then ".join(draw.choices(PLACES, k=draw.randint(1, 6)))
        return {"prompt": f"where did {friends} travel ?", "response": f"to {places} ."}

    for name, count in (("train", TRAIN_ROWS), ("eval", EVAL_ROWS)):
        text = "".join(json.dumps(row()) + "\n" for _ in range(count))
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and eval.jsonl: preference pairs of different lengths, some with a passage."""
    folder = tmp_path_factory.mktemp("pairs")
    draw = random.Random(1)

    def pair(number: int) -> dict[str, str]:
        friends = " and ".join(draw.sample(NAMES, draw.randint(1, 4)))
        right, wrong = draw.sample(PLACES, 2)
        row = {
            "prompt": f"where did {friends} travel ?",
            "chosen": f"to {right} then {wrong} ." if draw.random() < 0.5 else f"to {right} .",
            "rejected": f"to {wrong} .",
            "group": ("near", "far")[number % 2],
        }
        return row | ({"evidence": f"{friends} went to {right} ."} if number % 3 else {})

    for name, count in (("train", TRAIN_PAIRS), ("eval", EVAL_PAIRS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(pair(number)) + "\n" for number in range(count)))
    return folder


def architecture() -> dict[str, Any]:
    """The model of the tests, made from scratch."""
    shape = {"hidden_size": 32, "layers": 2, "heads": 2, "intermediate_size": 48, "max_positions": 64}
    return {"architecture": shape, "tokenizer": {"kind": "word"}}


def train_settings(train: dict[str, Any]) -> dict[str, Any]:
    """A few steps on small batches; `train` goes over them."""
    settings = {
        "steps": 5,
        "batch_size": 10,
        "micro_batch_size": 3,
        "lr": 1e-2,
        "clip": 0.5,
        "precision": "fp32",
        "zero_stage": 0,
        "sample_prompts": 2,
        "sample_tokens": 4,
        "timeout_seconds": 60,
    }
    return settings | train


def write_spec(folder: Path, spec: dict[str, Any]) -> Path:
    """Write a spec under a new name."""
    path = folder / f"{len(list(folder.iterdir()))}.yaml"
    path.write_text(json.dumps(spec))  # JSON is YAML
    return path


@pytest.fixture(scope="session")
def make_spec(data: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that writes a spec; its arguments go over `train`, its `model` over the architecture."""

    folder = tmp_path_factory.mktemp("specs")

    def make(*, model: dict[str, Any] | None = None, data_settings: dict[str, Any] | None = None, **train: Any) -> Path:
        files = {"train": str(data / "train.jsonl"), "eval": str(data / "eval.jsonl"), "max_length": 64}
        return write_spec(
            folder,
            {
                "kind": "sft",
                "seed": 3,
                "model": model or architecture(),
                "data": files | (data_settings or {}),
                "train": train_settings(train),
            },
        )

    return make


@pytest.fixture(scope="session")
def make_rm_spec(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that writes the spec of a reward model; its arguments are those of `make_spec`."""

    folder = tmp_path_factory.mktemp("rm-specs")

    def make(*, model: dict[str, Any] | None = None, data_settings: dict[str, Any] | None = None, **train: Any) -> Path:
        files = {"train": str(pairs / "train.jsonl"), "eval": str(pairs / "eval.jsonl"), "max_length": 64}
        return write_spec(
            folder,
            {
                "kind": "rm",
                "seed": 3,
                "model": model or architecture(),
                "data": files | (data_settings or {}),
                "margin": 0.2,
                "centering": 0.01,
                "train": train_settings(train),
            },
        )

    return make


@pytest.fixture(scope="session")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.jsonl and eval.jsonl: questions of different lengths with accepted answers and passages."""
    folder = tmp_path_factory.mktemp("prompts")
    draw = random.Random(2)

    def row(number: int) -> dict[str, Any]:
        friends = " and ".join(draw.sample(NAMES, draw.randint(1, 4)))
        place = draw.choice(PLACES)
        return {
            "prompt": f"where did {friends} travel ?",
            "answers": [f"to {place} ."],
            "evidence": f"{friends} went to {place} .",
            "group": ("near", "far")[number % 2],
        }

    for name, count in (("train", TRAIN_PROMPTS), ("eval", EVAL_PROMPTS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row(number)) + "\n" for number in range(count)))
    return folder


@pytest.fixture(scope="session")
def make_ppo_spec(
    prompts: Path, data: Path, causal: Path, reward_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> MakeSpec:
    """Return a function that writes the spec of a PPO run; `settings` go over its sections, the rest over `train`."""

    text = {"train": str(data / "train.jsonl"), "max_length": 64}
    folder = tmp_path_factory.mktemp("ppo-specs")

    def make(*, settings: dict[str, Any] | None = None, **train: Any) -> Path:
        spec: dict[str, Any] = {
            "kind": "ppo",
            "seed": 3,
            "model": {"path": str(causal)},
            "rewards": {
                "judge": {"clip": 3.0},
                "short": {"kind": "length", "target": 2, "weight": 0.1, "normalise": "running"},
            },
            "data": {
                "train": str(prompts / "train.jsonl"),
                "eval": str(prompts / "eval.jsonl"),
                "max_response_length": 6,
            },
            "rollout": {"prompts": 7, "samples_per_prompt": 2, "batch_size": 5, "temperature": 0.8},
            "ppo": {"inner_epochs": 2, "kl_target": 0.5, "kl_horizon": 500.0},
            "critic": {"lr": 5e-3},
            "train": train_settings({"batch_size": 9, "lr": 3e-3, "steps": 3} | train),
        }
        for section, changed in (settings or {}).items():
            replaces = section == "rewards" or not isinstance(changed, dict)
            spec[section] = changed if replaces else spec.get(section, {}) | changed
        if "ptx" in spec:
            spec["ptx"] = {"data": text, "batch_size": 5} | spec["ptx"]
        for term in spec["rewards"].values():
            if term.get("kind", "model") == "model":
                term.setdefault("path", str(reward_model))
        return write_spec(folder, spec)

    return make


@pytest.fixture(scope="session")
def causal(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a causal language model and its tokenizer, as an SFT run exports them."""
    from transformers import LlamaForCausalLM

    return _saved(LlamaForCausalLM, pairs, tmp_path_factory.mktemp("causal"), seed=5)


@pytest.fixture(scope="session")
def reward_model(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a reward model, as an RM run exports it."""
    from transformers import LlamaForSequenceClassification

    settings = {"num_labels": 1, "reward_mean": 0.2, "reward_std": 0.5}
    return _saved(LlamaForSequenceClassification, pairs, tmp_path_factory.mktemp("reward"), seed=6, **settings)


def _saved(network_type: Any, pairs: Path, folder: Path, *, seed: int, **settings: Any) -> Path:
    import torch
    from transformers import LlamaConfig

    from engine.data.tokenizers import train_tokenizer
    from engine.spec.models import PreferenceData

    tokenizer = train_tokenizer(None, PreferenceData(train=str(pairs / "train.jsonl")))
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
        initializer_range=0.15,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **settings,
    )
    torch.manual_seed(seed)
    network_type(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
