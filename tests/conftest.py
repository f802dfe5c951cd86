"""Which tests begin first; and real data, where it lies beside the repository, or else the fact world and a warning."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from engine.data.facts.questions import questions
from engine.data.facts.world import FactWorld

# The files that take longest begin first: else one of two processes ends with such a one alone, while the other waits.
# One that mostly waits for nodes stands before one that computes, so that they run side by side.
LONGEST = (
    "dispatch/test_dispatcher",
    "train/ppo/test_ppo_resume",
    "cli/test_demo",
    "train/ppo/test_ppo_adapters",
    "cli/test_first_light",
    "train/ppo/test_closed_form",
    "dispatch/test_sharing",
    "train/test_loop",
    "tui/snapshots/test_every_screen",
    "train/test_resume",
    "rag/test_build",
    "tui/test_end_to_end",
    "train/test_lora",
    "plan/test_states",
    "cli/test_cluster",
    "tui/screens/test_launch_from_nothing",
    "train/ppo/test_update",
    "evaluate/test_over_ssh",
)
settings.register_profile("untimed", deadline=None)  # nothing timed is asserted: the machine may be busy
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first, each file as it is."""
    places = {f"tests/{name}.py": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


def real(name: str) -> Path | None:
    """The file of real data; None, with a warning, where it is missing."""
    file = SHARED / name
    if file.is_file():
        return file
    warnings.warn(f"{file} is missing: tested with the fact world instead", stacklevel=2)
    return None


@pytest.fixture(scope="session")
def squad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SQuAD's dev split: articles, their paragraphs, and questions on these, answerable or not."""
    found = real("squad-dev-v2.0.json")
    if found is not None:
        return found
    world = FactWorld(0)
    asked: dict[str, list[dict[str, Any]]] = {}
    for one in questions(world):
        answers = [{"text": one.fact.value, "answer_start": one.passage.text.find(one.fact.value)}]
        question = {"id": one.id, "question": one.text, "is_impossible": not one.fact.stated}
        asked.setdefault(one.passage.id, []).append({**question, "answers": answers if one.fact.stated else []})
    articles = [
        {"title": passage.title, "paragraphs": [{"context": passage.text, "qas": asked[passage.id]}]}
        for passage in world.passages
    ]
    file = tmp_path_factory.mktemp("squad") / "squad.json"
    file.write_text(json.dumps({"version": "v2.0", "data": articles}), encoding="utf-8")
    return file


@pytest.fixture(scope="session")
def halueval(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """HaluEval's questions, each with a passage, a right answer and an invented one."""
    found = real("halueval-qa.jsonl")
    if found is not None:
        return found
    world = FactWorld(0)
    rows = []
    for one in questions(world):
        said = {fact.value for fact in one.passage.facts}
        invented = next(value for value in world.values[one.fact.relation.name] if value not in said)
        if one.fact.stated:
            row = {"knowledge": one.passage.text, "question": one.text, "right_answer": one.fact.value}
            rows.append({**row, "hallucinated_answer": invented})
    file = tmp_path_factory.mktemp("halueval") / "halueval.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file
