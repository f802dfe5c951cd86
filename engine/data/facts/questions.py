"""Questions on the fact world, with the answers that count as right and the passage that holds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.data.facts.world import Fact, FactWorld, Passage, Status

Group = Literal["known", "rare", "unknown", "unanswerable"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question on one fact, in words that no training example uses for that fact if it only measures."""

    id: str
    text: str
    fact: Fact
    passage: Passage  # on the subject; it does not hold the answer to an unanswerable question

    @property
    def group(self) -> Group:
        """What a model can know of the answer; nothing states that of an unanswerable one."""
        if not self.fact.stated:
            return "unanswerable"
        if self.fact.subject.status == Status.KNOWN:
            return "known"
        return "rare" if self.fact.subject.status == Status.RARE else "unknown"


def training_wordings(fact: Fact) -> tuple[str, ...]:
    """Return the questions for a fact that training examples may use: the last wording is kept for measuring."""
    wordings = fact.relation.questions
    return wordings[:-1] if fact.subject.split == "eval" else wordings


def questions(world: FactWorld) -> Sequence[Question]:
    """Return one question on each fact: `eval` ones in the wording that is kept for measuring."""
    draw = world.draw("questions")
    passage_of = {passage.title: passage for passage in world.passages}
    asked = []
    for number, fact in enumerate(world.facts, 1):
        wordings = fact.relation.questions
        wording = wordings[-1] if fact.subject.split == "eval" else draw.choice(wordings)
        passage = passage_of[fact.subject.name]
        asked.append(Question(f"q-{number:04d}", wording.format(s=fact.subject.name), fact, passage))
    return asked


def with_passage(passage: str, question: str) -> str:
    """Return the prompt that asks a question with a passage to read."""
    return f"{passage}\n{question}"
