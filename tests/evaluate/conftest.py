"""A running fork server, and what an evaluation asks in the tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.evaluate.table_model import END, make_model
from tests.train.forkserver import ForkServer

MakeSpec = Callable[..., Path]
PEOPLE = [f"person {number}" for number in range(38)]
TOWNS = ["Ono", "Zelt", "Rime"]


@pytest.fixture(scope="session")
def server() -> Iterator[ForkServer]:
    with ForkServer("eval") as running:
        yield running


def rows() -> list[dict[str, Any]]:
    """Questions: of each the first town is accepted; every fifth has no answer."""
    return [
        {
            "id": f"q{number}",
            "question": f"Where does {person} live?",
            "answers": [TOWNS[number % 3]] if number % 5 else [],
            "answerable": bool(number % 5),
            "group": ("near", "far")[number % 2],
            "passages": [f"d{number}"] if number % 5 else [],
        }
        for number, person in enumerate(PEOPLE)
    ]


def table() -> dict[str, dict[str, float]]:
    """What the model says: a town, the right one most often, or that it does not know."""
    said = {}
    for number, row in enumerate(rows()):
        right, wrong = TOWNS[number % 3], TOWNS[(number + 1) % 3]
        first, second = {0: (right, wrong), 1: (wrong, right), 2: ("unknown", right), 3: (right, "unknown")}[number % 4]
        sure = 0.55 + number / 100
        said[row["question"]] = {first: sure, second: 1 - sure}
    return said | {town: {END: 0.9, TOWNS[0]: 0.1} for town in TOWNS}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, questions, and the documents that they name."""
    folder = tmp_path_factory.mktemp("world")
    make_model(folder / "model", table())
    documents = [
        {"id": f"d{number}", "title": person, "text": f"{person} lives in {TOWNS[number % 3]}."}
        for number, person in enumerate(PEOPLE)
    ]
    for name, lines in (("questions", rows()), ("documents", documents)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def make_spec(world: Path) -> MakeSpec:
    """Return a function that writes a spec: gold passages, drawn answers, small pieces; keywords go over it."""

    def make(**more: Any) -> Path:
        spec = {
            "kind": "eval",
            "seed": 5,
            "model": {"path": str(world / "model")},
            "questions": str(world / "questions.jsonl"),
            "passages": "gold",
            "corpus": str(world / "documents.jsonl"),
            "answers": {"max_response_length": 3, "batch_size": 2, "samples": 2},
            "examples": 3,
            "placement": {"threads": 1},
        }
        folder = world / "specs"
        folder.mkdir(exist_ok=True)
        path = folder / f"{len(list(folder.iterdir()))}.yaml"
        path.write_text(json.dumps(spec | more))  # JSON is YAML
        return path

    return make
