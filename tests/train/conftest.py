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
def make_spec(data: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    """Return a function that writes a spec; its arguments go over `train`, its `model` over the architecture."""

    folder = tmp_path_factory.mktemp("specs")

    def make(*, model: dict[str, Any] | None = None, data_settings: dict[str, Any] | None = None, **train: Any) -> Path:
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
        architecture = {
            "hidden_size": 32,
            "layers": 2,
            "heads": 2,
            "intermediate_size": 48,
            "max_positions": 64,
        }
        spec = {
            "kind": "sft",
            "seed": 3,
            "model": model or {"architecture": architecture, "tokenizer": {"kind": "word"}},
            "data": {
                "train": str(data / "train.jsonl"),
                "eval": str(data / "eval.jsonl"),
                "max_length": 64,
                **(data_settings or {}),
            },
            "train": settings | train,
        }
        path = folder / f"{len(list(folder.iterdir()))}.yaml"
        path.write_text(json.dumps(spec))  # JSON is YAML
        return path

    return make
