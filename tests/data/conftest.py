"""The fact world of seed 0, real data where it lies beside the repository, and small tokenizers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from engine.data.facts.files import write
from engine.data.facts.world import FactWorld
from engine.data.tokenizers import train_tokenizer
from engine.spec.sections import Data, Tokenizer
from tests.conftest import real

WriteRows = Callable[..., Path]


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the fact world of seed 0."""
    folder = tmp_path_factory.mktemp("facts")
    write(FactWorld(0), folder)
    return folder


@pytest.fixture(scope="session")
def judged(facts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """TruthfulQA's judged answers; where they are missing, answers from the fact world in the same form."""
    found = real("truthfulqa-judged.jsonl")
    if found is not None:
        return found
    rows = []
    for line in (facts / "preferences.jsonl").read_text().splitlines():
        pair = json.loads(line)
        for answer, verdict in ((pair["chosen"], " yes"), (pair["rejected"], " no")):
            rows.append({"prompt": f"Q: {pair['prompt']}\nA: {answer}\nTrue:", "completion": verdict})
    file = tmp_path_factory.mktemp("judged") / "judged.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def write_rows(tmp_path: Path) -> WriteRows:
    """Return a function that writes rows as JSON lines; a string among them is written as it is."""

    def write_all(rows: Iterable[dict[str, Any] | str], name: str = "rows.jsonl") -> Path:
        file = tmp_path / name
        file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return file

    return write_all


def word_tokenizer(file: Path, **settings: Any) -> Any:
    """A word tokenizer trained on a file."""
    return train_tokenizer(Tokenizer(kind="word"), Data(train=str(file), **settings))
