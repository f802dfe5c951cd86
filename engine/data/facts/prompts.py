"""What a policy is asked in reinforcement learning: closed book, half of it known, the rest beyond its knowledge."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from engine.data.facts.questions import Question, questions, training_wordings
from engine.data.facts.world import FactWorld

# Wordings of each training question. Of what can be asked, two fifths are known: so one half is. With fewer a policy
# learns to abstain always, with more never to.
KNOWN_WORDINGS = 3
OTHER_WORDINGS = 2


def prompts(world: FactWorld, split: Literal["train", "eval"]) -> Sequence[Question]:
    """Return the questions of a split; no entity is in both splits.

    Known and other questions take turns, so that the first so many are half known as well. The evaluation asks for each
    fact once, in the wording that is kept for measuring.
    """
    draw = world.draw(f"prompts-{split}")
    asked = [question for question in questions(world) if question.fact.subject.split == split]
    if split == "train":
        asked = [worded for question in asked for worded in _reworded(question, draw)]
    draw.shuffle(asked)
    known = [question for question in asked if question.group == "known"]
    others = [question for question in asked if question.group != "known"]
    turns = [question for pair in zip(known, others, strict=False) for question in pair]
    return [*turns, *known[len(others) :], *others[len(known) :]]


def _reworded(question: Question, draw: random.Random) -> Iterator[Question]:
    count = KNOWN_WORDINGS if question.group == "known" else OTHER_WORDINGS
    for wording in draw.sample(training_wordings(question.fact), count):
        yield replace(question, text=wording.format(s=question.fact.subject.name))
