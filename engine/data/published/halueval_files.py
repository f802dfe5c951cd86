"""HaluEval's questions (Li et al. 2023), each with a passage, a right and a hallucinated answer, as a pipeline's files.

| file | a row |
|---|---|
| `corpus.jsonl` | a passage: `id`, `text` |
| `preferences.jsonl`, `preferences-eval.jsonl` | `prompt`, `chosen`, `rejected`, `evidence`, `group`, `question` |
| `questions.jsonl` | `id`, `question`, `right_answer`, `hallucinated_answer`, `split`, `passages`, `evidence` |

Of each question there are three pairs: right before hallucinated, right before abstaining, abstaining before
hallucinated; the groups tell which. The questions are multiple choice. The order of all rows but the corpus's is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.data.conversations import Unusable, as_question, text_of
from engine.data.facts.language import ABSTENTION
from engine.data.sources import BrokenRows, read_rows
from engine.data.writing import as_lines
from engine.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class _Judged:
    id: str
    knowledge: str
    question: str
    right: str
    hallucinated: str


def halueval_files(path: Path, *, seed: int, held_out: float = 0.2) -> dict[str, str]:
    """Return the files by name.

    Arguments:
        held_out: share of the questions that are for evaluation alone.

    Raises:
        InvalidInput: if the file cannot be read, a row is broken, or there are not two questions.
    """
    rows = list(_read(path))
    words = list(dict.fromkeys(as_question(row.question) for row in rows))
    if len(words) < 2:
        raise InvalidInput("has no two questions, so none can be held out.", where=str(path))
    # By the words of the question: all rows that ask the same fall on one side.
    random.Random(f"plumbline-halueval-split-{seed}").shuffle(words)
    reserved = set(words[: min(len(words) - 1, max(1, round(held_out * len(words))))])
    random.Random(f"plumbline-halueval-order-{seed}").shuffle(rows)
    parts = {
        split: [row for row in rows if (as_question(row.question) in reserved) == (split == "eval")]
        for split in ("train", "eval")
    }
    return {
        "corpus.jsonl": as_lines({"id": row.id, "text": row.knowledge} for row in sorted(rows, key=lambda row: row.id)),
        "preferences.jsonl": as_lines(_pairs(parts["train"])),
        "preferences-eval.jsonl": as_lines(_pairs(parts["eval"])),
        "questions.jsonl": as_lines(_question(row, split) for split, own in parts.items() for row in own),
    }


def _read(path: Path) -> Iterator[_Judged]:
    broken, usable = BrokenRows("error"), 0
    keys = ("knowledge", "question", "right_answer", "hallucinated_answer")
    for row in read_rows(path, broken):
        try:
            knowledge, question, right, hallucinated = (text_of(row.values, key).strip() for key in keys)
        except Unusable as problem:
            broken.add(row.place, str(problem))
            continue
        if right == hallucinated:
            broken.add(row.place, "has the same text as right and as hallucinated answer")
            continue
        usable += 1
        yield _Judged(f"halueval-{usable:05}", knowledge, question, right, hallucinated)
    broken.report(usable)


def _pairs(rows: list[_Judged]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for chosen, rejected, group in (
            (row.right, row.hallucinated, "correct_over_wrong"),
            (row.right, ABSTENTION, "correct_over_abstained"),
            (ABSTENTION, row.hallucinated, "abstained_over_wrong"),
        ):
            told = {"prompt": row.question, "chosen": chosen, "rejected": rejected, "evidence": row.knowledge}
            yield {**told, "group": group, "question": row.id}


def _question(row: _Judged, split: str) -> dict[str, Any]:
    return {
        "id": row.id,
        "question": row.question,
        "right_answer": row.right,
        "hallucinated_answer": row.hallucinated,
        "split": split,
        "passages": [row.id],
        "evidence": row.knowledge,
    }
