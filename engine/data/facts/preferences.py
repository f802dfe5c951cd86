"""Which of two answers is better: right before abstaining before wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.data.facts.language import ABSTENTION
from engine.data.facts.questions import Question, questions
from engine.data.facts.world import FactWorld


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to a question, and the passage by which they are judged; the policy does not see it."""

    question: Question
    chosen: str
    rejected: str

    @property
    def evidence(self) -> str:
        """The passage on the subject."""
        return self.question.passage.text


def preferences(world: FactWorld, split: Literal["train", "eval"]) -> Iterator[Preference]:
    """Yield the pairs for all questions of a split; no entity is in both."""
    draw = world.draw(f"preferences-{split}")
    for question in questions(world):
        fact = question.fact
        if fact.subject.split != split:
            continue
        wrong = draw.choice([value for value in world.values[fact.relation.name] if value != fact.value])
        if fact.stated:
            yield Preference(question, fact.value, wrong)
            yield Preference(question, fact.value, ABSTENTION)
        yield Preference(question, ABSTENTION, wrong)
