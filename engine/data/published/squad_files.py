"""SQuAD as the files of a pipeline.

| file | a row |
|---|---|
| `corpus.jsonl` | a paragraph of any article: `id`, `title`, `text` |
| `questions.jsonl` | `id`, `question`, `answers`, `answerable`, `group`, `split`, `article`, `passages`, `evidence` |
| `sft.jsonl`, `sft-eval.jsonl` | `prompt`, `response`, `task`, `question` |
| `prompts.jsonl`, `prompts-eval.jsonl` | `prompt`, `answers`, `answerable`, `evidence`, `group`, `question` |

Whole articles are held out, and the order of all rows but the corpus's is drawn, so that the first so many of a file
are a sample of it. `passages` are the ids of the paragraphs that answer; `evidence` is the paragraph, in prompts the
part of it that fine-tuning reads too.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from engine.data.conversations import as_question
from engine.data.facts.language import ABSTENTION
from engine.data.facts.questions import with_passage
from engine.data.published.squad import Asked, Paragraph, read_squad
from engine.data.sentences import sentences
from engine.data.writing import as_lines
from engine.errors import InvalidInput

Split = Literal["train", "eval"]


class Task(StrEnum):
    """What an example practises."""

    READ = "read"  # the passage answers
    READ_MISSING = "read_missing"  # it looks as if it did
    GUESS = "guess"  # closed book, with an answer
    ABSTAIN = "abstain"  # closed book, without


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of what there is."""

    held_out: float = 0.25  # of the questions, at least; whole articles
    missing: float = 1.0  # of the reading examples, at most: those whose passage does not answer
    abstained: float = 0.06  # of the closed-book examples; without any, PPO would have nothing to reinforce


@dataclass(frozen=True, slots=True)
class _Question:
    asked: Asked
    paragraph: Paragraph
    split: Split
    passage: str  # what is read: the paragraph, or the sentences around the answer


def squad_files(path: Path, *, seed: int, sentences_read: int = 0, shares: Shares = Shares()) -> dict[str, str]:
    """Return the files by name.

    Arguments:
        sentences_read: sentences of a passage in training, around the answer, or around what looks like one; 0: the
            whole paragraph.

    Raises:
        InvalidInput: if the file is not SQuAD's, or has no two articles with questions.
    """
    paragraphs = list(read_squad(path))
    held_out = _held_out(paragraphs, shares.held_out, random.Random(f"plumbline-squad-articles-{seed}"), str(path))
    asked = [
        _Question(one, paragraph, split, _passage(paragraph.text, one.spot, sentences_read))
        for paragraph in paragraphs
        for split in (("eval" if paragraph.title in held_out else "train"),)
        for one in paragraph.asked
    ]
    random.Random(f"plumbline-squad-questions-{seed}").shuffle(asked)
    measured = [one for one in asked if one.split == "eval"]
    # The same words may ask about several paragraphs: what measures is not trained on.
    reserved = {as_question(one.asked.text) for one in measured}
    trained = [one for one in asked if one.split == "train" and as_question(one.asked.text) not in reserved]
    exercises = {
        split: list(_exercises(own, shares, random.Random(f"plumbline-squad-exercises-{split}-{seed}")))
        for split, own in (("train", trained), ("eval", measured))
    }
    return {
        "corpus.jsonl": as_lines(
            {"id": one.id, "title": one.title.replace("_", " "), "text": one.text} for one in paragraphs
        ),
        "questions.jsonl": as_lines(map(_question, [*trained, *measured])),
        "sft.jsonl": as_lines(exercises["train"]),
        "sft-eval.jsonl": as_lines(exercises["eval"]),
        "prompts.jsonl": as_lines(map(_prompt, trained)),
        "prompts-eval.jsonl": as_lines(map(_prompt, measured)),
    }


def _held_out(paragraphs: Sequence[Paragraph], share: float, draw: random.Random, where: str) -> set[str]:
    """Return titles of articles that have the share of the questions, and leave at least one other."""
    counts: dict[str, int] = defaultdict(int)
    for paragraph in paragraphs:
        counts[paragraph.title] += len(paragraph.asked)
    titles = [title for title, count in counts.items() if count]
    if len(titles) < 2:
        raise InvalidInput("has no two articles with questions, so none can be held out.", where=where)
    draw.shuffle(titles)
    wanted, chosen = share * sum(counts.values()), set[str]()
    for title in titles[:-1]:
        chosen.add(title)
        if sum(counts[one] for one in chosen) >= wanted:
            break
    return chosen


def _passage(text: str, spot: tuple[int, int] | None, count: int) -> str:
    """Return `count` sentences of a text about the stretch `spot`, more if it needs more; all if `count` is 0.

    spot: None: the first sentences.
    """
    spans = sentences(text)
    if not count or len(spans) <= count:
        return text
    begin, end = spot or (0, 1)
    first = next((number for number, span in enumerate(spans) if begin < span[1]), len(spans) - 1)
    last = next((number for number, span in enumerate(spans) if end <= span[1]), len(spans) - 1)
    missing = max(0, count - (last - first + 1))
    first = max(0, min(first - missing // 2, len(spans) - count))
    last = max(last, first + count - 1)
    return text[spans[first][0] : spans[last][1]]


def _exercises(asked: Sequence[_Question], shares: Shares, draw: random.Random) -> Iterator[dict[str, Any]]:
    """Yield reading and closed-book examples, as many of each as questions have answers, and abstentions beside."""
    answered = [one for one in asked if one.asked.answerable]
    unanswered = [one for one in asked if not one.asked.answerable]
    missing = draw.sample(unanswered, _beside(len(answered), shares.missing, len(unanswered)))
    abstained = draw.sample(unanswered, _beside(len(answered), shares.abstained, len(unanswered)))
    rows = [
        *((one, Task.READ) for one in answered),
        *((one, Task.READ_MISSING) for one in missing),
        *((one, Task.GUESS) for one in answered),
        *((one, Task.ABSTAIN) for one in abstained),
    ]
    draw.shuffle(rows)
    for one, task in rows:
        reads = task in (Task.READ, Task.READ_MISSING)
        yield {
            "prompt": with_passage(one.passage, one.asked.text) if reads else one.asked.text,
            "response": one.asked.usual or ABSTENTION,
            "task": task,
            "question": one.asked.id,
        }


def _beside(others: int, share: float, most: int) -> int:
    """Return how many rows beside others are a share of all, at most so many."""
    return most if share >= 1.0 else min(most, round(others * share / (1.0 - share)))


def _document(one: Paragraph) -> dict[str, Any]:
    return {"id": one.id, "title": one.title.replace("_", " "), "text": one.text}


def _question(one: _Question) -> dict[str, Any]:
    return {
        "id": one.asked.id,
        "question": one.asked.text,
        "answers": list(one.asked.answers),
        "answerable": one.asked.answerable,
        "group": _group(one),
        "split": one.split,
        "article": one.paragraph.title,
        "passages": [one.paragraph.id] if one.asked.answerable else [],
        "evidence": one.paragraph.text,
    }


def _prompt(one: _Question) -> dict[str, Any]:
    return {
        "prompt": one.asked.text,
        "answers": list(one.asked.answers),
        "answerable": one.asked.answerable,
        "evidence": one.passage,
        "group": _group(one),
        "question": one.asked.id,
    }


def _group(one: _Question) -> str:
    return "answerable" if one.asked.answerable else "unanswerable"
