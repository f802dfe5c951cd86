"""The fact world as files.

| file | a row |
|---|---|
| `world.json` | one document: the seed, the entities, all facts |
| `corpus.jsonl` | a passage: `id`, `title`, `text`, `facts` |
| `sft.jsonl`, `sft-eval.jsonl` | `prompt`, `response`, `task`, `level` (of the curriculum), `fact` |
| `questions.jsonl` | `id`, `question`, `answers`, `answerable`, `group`, `split`, `passages` (the gold ones), `fact` |
| `qrels.txt` | TREC relevance judgements: question, 0, passage, 1 |
| `preferences.jsonl`, `preferences-eval.jsonl` | `prompt`, `chosen`, `rejected`, `evidence`, `group`, `question` |
| `prompts.jsonl`, `prompts-eval.jsonl` | `prompt`, `answers`, `answerable`, `evidence`, `group`, `question` |

`evidence` is the true passage, for the reward model alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from engine.data.facts.exercises import Exercise, evaluation_exercises, training_exercises
from engine.data.facts.preferences import preferences
from engine.data.facts.prompts import prompts
from engine.data.facts.questions import Question, questions
from engine.data.facts.world import FactWorld, Passage
from engine.data.writing import as_lines, write_files


def write(world: FactWorld, folder: Path) -> None:
    """Write all files of the world to a folder, over those of another world.

    Raises:
        Refused: if they cannot be written.
    """
    asked = questions(world)
    texts = {
        "world.json": json.dumps(_world(world), ensure_ascii=False, indent=1) + "\n",
        "corpus.jsonl": as_lines(map(_passage, world.passages)),
        "sft.jsonl": as_lines(map(_exercise, training_exercises(world))),
        "sft-eval.jsonl": as_lines(map(_exercise, evaluation_exercises(world))),
        "questions.jsonl": as_lines(map(_question, asked)),
        "qrels.txt": "".join(f"{one.id} 0 {one.passage.id} 1\n" for one in asked if one.fact.stated),
        "preferences.jsonl": as_lines(_preferences(world, "train")),
        "preferences-eval.jsonl": as_lines(_preferences(world, "eval")),
        "prompts.jsonl": as_lines(map(_prompt, prompts(world, "train"))),
        "prompts-eval.jsonl": as_lines(map(_prompt, prompts(world, "eval"))),
    }
    write_files(folder, texts)


def _world(world: FactWorld) -> dict[str, Any]:
    return {
        "seed": world.seed,
        "entities": [{"name": one.name, "status": one.status, "split": one.split} for one in world.entities],
        "facts": [
            {
                "id": fact.id,
                "subject": fact.subject.name,
                "relation": fact.relation.name,
                "value": fact.value,
                "stated": fact.stated,
            }
            for fact in world.facts
        ],
        "values": world.values,
    }


def _passage(passage: Passage) -> dict[str, Any]:
    facts = [fact.id for fact in passage.facts]
    return {"id": passage.id, "title": passage.title, "text": passage.text, "facts": facts}


def _exercise(exercise: Exercise) -> dict[str, Any]:
    return {
        "prompt": exercise.prompt,
        "response": exercise.response,
        "task": exercise.task,
        "level": exercise.level,
        "fact": exercise.fact.id if exercise.fact is not None else None,
    }


def _question(question: Question) -> dict[str, Any]:
    answerable = question.fact.stated
    return {
        "id": question.id,
        "question": question.text,
        "answers": _answers(question),
        "answerable": answerable,
        "group": question.group,
        "split": question.fact.subject.split,
        "passages": [question.passage.id] if answerable else [],
        "fact": question.fact.id,
    }


def _answers(question: Question) -> list[str]:
    return [question.fact.value] if question.fact.stated else []


def _prompt(question: Question) -> dict[str, Any]:
    return {
        "prompt": question.text,
        "answers": _answers(question),
        "answerable": question.fact.stated,
        "evidence": question.passage.text,
        "group": question.group,
        "question": question.id,
    }


def _preferences(world: FactWorld, split: Literal["train", "eval"]) -> Iterable[dict[str, Any]]:
    for pair in preferences(world, split):
        yield {
            "prompt": pair.prompt,
            "chosen": pair.chosen,
            "rejected": pair.rejected,
            "evidence": pair.evidence,
            "group": pair.group,
            "question": pair.question,
        }
