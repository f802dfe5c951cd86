"""What a policy is asked in reinforcement learning: closed book, half of it known, the rest beyond its knowledge."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

from engine.data.facts.questions import Question, questions, training_wordings
from engine.data.facts.world import FactWorld

# Wordings of each training question.
WORDINGS = 3


def prompts(world: FactWorld, split: Literal["train", "eval"]) -> Sequence[Question]:
    """Return the questions of a split.

    The evaluation asks for each fact once, in the wording that is kept for measuring. What is not known is asked in
    training about other entities than there, what is known about those too, in the other wordings: in supervised
    fine-tuning it is no different, and what a policy is never asked again it unlearns.

    Known and other questions take turns, so that the first so many are half known as well: with fewer a policy learns
    to abstain always, with more never to.
    """
    draw = world.draw(f"prompts-{split}")
    known = [question for question in questions(world) if question.group == "known"]
    others = [question for question in questions(world) if question.group != "known"]
    others = [question for question in others if question.fact.subject.split == split]
    if split == "train":
        known, others = ([worded for one in asked for worded in _reworded(one, draw)] for asked in (known, others))
    else:
        known = [question for question in known if question.fact.subject.split == split]
    draw.shuffle(known)
    draw.shuffle(others)
    turns = [question for pair in zip(known, others, strict=False) for question in pair]
    return [*turns, *known[len(others) :], *others[len(known) :]]


def _reworded(question: Question, draw: random.Random) -> Iterator[Question]:
    for wording in draw.sample(training_wordings(question.fact), WORDINGS):
        yield replace(question, text=wording.format(s=question.fact.subject.name))
