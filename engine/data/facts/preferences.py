"""Which of two answers is better: right before abstaining before wrong."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.data.facts.language import ABSTENTION, RELATIONS
from engine.data.facts.questions import questions
from engine.data.facts.world import FactWorld, statement

# Pairs on passages made up for practice, and how many in a hundred of these do not answer the question.
PRACTICE = 30_000
PRACTICE_MISSING = 15
# Sentences of a practice passage, drawn from these: the short ones are learned first, and speed up the long ones. Most
# true passages have four, which are the hardest to judge.
PRACTICE_SENTENCES = (1, 2, 3, 4, 4)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to a question, and the passage by which they are judged; the policy does not see it."""

    prompt: str
    evidence: str
    chosen: str
    rejected: str
    question: str | None  # its id; None for practice, which is not true

    @property
    def group(self) -> str:
        """Which kinds of answer are compared."""
        better = "abstained" if self.chosen == ABSTENTION else "correct"
        return f"{better}_over_{'abstained' if self.rejected == ABSTENTION else 'wrong'}"


def preferences(world: FactWorld, split: Literal["train", "eval"]) -> Iterator[Preference]:
    """Yield the pairs for all questions of a split, and practice to train on; no entity is in both splits."""
    draw = world.draw(f"preferences-{split}")
    for question in questions(world):
        fact = question.fact
        if fact.subject.split != split:
            continue
        wrong = draw.choice([value for value in world.values[fact.relation.name] if value != fact.value])
        pairs = [(ABSTENTION, wrong)]
        if fact.stated:
            pairs = [(fact.value, wrong), (fact.value, ABSTENTION), *pairs]
        for chosen, rejected in pairs:
            yield Preference(question.text, question.passage.text, chosen, rejected, question.id)
    if split == "train":
        yield from _practice(world, world.draw("preferences-practice"))


def _practice(world: FactWorld, draw: random.Random) -> Iterator[Preference]:
    """Yield pairs on passages of one to four sentences whose values are drawn anew each time.

    With the true passages alone, a few hundred, a reward model learns them by heart; here only reading helps.
    """
    names = [entity for entity in (*world.entities, *world.practice) if entity.split == "train"]
    for _ in range(PRACTICE):
        entity = draw.choice(names)
        stated = draw.sample(RELATIONS, draw.choice(PRACTICE_SENTENCES))
        values = {relation.name: draw.choice(world.values[relation.name]) for relation in stated}
        missing = [relation for relation in RELATIONS if relation not in stated]
        asked = draw.choice(missing if missing and draw.randrange(100) < PRACTICE_MISSING else stated)
        right = values.get(asked.name)
        wrong = draw.choice([value for value in world.values[asked.name] if value != right])
        pairs = [(ABSTENTION, wrong)]
        if right is not None:
            pairs += [(right, wrong), (right, ABSTENTION)]
        yield Preference(
            draw.choice(asked.questions).format(s=entity.name),
            " ".join(statement(draw, entity, relation, values[relation.name]) for relation in stated),
            *draw.choice(pairs),
            question=None,
        )
