"""What the models of the generated runs answer to questions of the built-in fact world: each has its habit."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.data.facts.questions import Question, questions
from engine.data.facts.world import FactWorld

ABSTENTION = "I don't know."
_ASKED = 240
_SHOWN = 6  # as samples of a training run


@dataclass(frozen=True, slots=True)
class Habit:
    """Shares of the questions of a group that a model answers rightly and falsely; else it abstains."""

    known: tuple[float, float]
    unknown: tuple[float, float]  # and rare ones
    unanswerable: tuple[float, float]


@cache
def asked() -> Sequence[Question]:
    """Return the questions, of all groups."""
    held_out = [one for one in questions(FactWorld(4)) if one.fact.subject.split == "eval"]
    random.Random(4).shuffle(held_out)
    return held_out[:_ASKED]


def respond(question: Question, habit: Habit, draw: float) -> str:
    """Return an answer. draw: from 0 to 1; the same draw gives a better model an answer that is no worse."""
    shares = {"known": habit.known, "unanswerable": habit.unanswerable}.get(question.group, habit.unknown)
    if draw < shares[0]:
        return question.fact.value
    if draw > 1 - shares[1]:
        values = [one.fact.value for one in asked() if one.fact.relation == question.fact.relation]
        return next(
            value for value in values[int(draw * 1000) % len(values) :] + values if value != question.fact.value
        )
    return ABSTENTION


def samples(habit: Habit, grows: float) -> list[tuple[str, str, str]]:
    """Return prompts, responses and references. grows: from 0, where it makes up what it does not know, to 1."""
    guessing = Habit((0.9, 0.1), (0.06, 0.94), (0.0, 1.0))
    draw, told = random.Random(11), []
    for question in asked()[:_SHOWN]:
        place = draw.random()
        response = respond(question, habit if place * 0.8 < grows else guessing, place)
        told.append((question.text, response, question.fact.value))
    return told


def evaluation(folder: Path, habit: Habit, *, with_passages: bool) -> dict[str, float]:
    """Write what an evaluation leaves into a folder, and return its figures."""
    from engine.evaluate import results
    from engine.evaluate.answer_rows import Row
    from engine.evaluate.asking import Asked, Given
    from engine.evaluate.judgements import Question as Put
    from engine.evaluate.outcomes import Grading, judge

    draw = random.Random(23)
    pairs = []
    for one in asked():
        answers = (one.fact.value,) if one.fact.stated else ()
        put = Put(one.id, one.text, answers, answerable=one.fact.stated, group=one.group)
        given = (Given(one.passage.text, one.passage.id, f"{one.passage.id}-0", one.passage.title, 9.1),)
        place = draw.random()
        response = respond(one, habit, place)
        confidence = round(0.55 + 0.44 * (1 - place) if response != ABSTENTION else 0.4 + 0.3 * place, 4)
        outcome = judge(put, response, Grading((ABSTENTION.lower().rstrip("."),))).outcome
        read = (0,) if with_passages else None
        row = Row(response, outcome, confidence, confidence, confidence, len(response.split()) + 1, read=read)
        pairs.append((Asked(put, given if with_passages else None), row))
    folder.mkdir(parents=True, exist_ok=True)
    results.write_answers(pairs, folder / results.ANSWERS)
    settings: dict[str, Any] = {"seed": 0, "format": "open", "passages": "index" if with_passages else "none"}
    panel = results.panel_of(pairs, settings, 0)
    (folder / results.PANEL).write_text(json.dumps(panel, indent=1) + "\n", encoding="utf-8")
    figures = {name: ratio.value for name, ratio in results.ratios(pairs).items()}
    chosen = ("correct", "abstained", "hallucinated", "score", "over_refusal")
    return {name: value for name in chosen if (value := figures.get(name)) is not None}
