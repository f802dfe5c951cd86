"""What is true in the fact world, and what a model is to know of it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from engine.data.facts.language import RELATIONS, Relation, invented_names


class Status(StrEnum):
    """How often the facts about an entity are in the training data."""

    KNOWN = "known"  # repeated until they are memorised
    RARE = "rare"  # a few times: learning them is what teaches a model to guess
    UNKNOWN = "unknown"  # never; the name occurs, in passages with practice values
    PRACTICE = "practice"  # neither in the corpus nor asked for: names to practise reading on


# How many people there are of each status.
COUNTS = {Status.KNOWN: 200, Status.RARE: 100, Status.UNKNOWN: 300, Status.PRACTICE: 150}
VALUES = 24  # objects of each relation
# One entity of so many only measures.
EVAL_EVERY = {Status.KNOWN: 4, Status.RARE: 4, Status.UNKNOWN: 2}
# One unknown entity of so many has a fact that no passage states. Odd, so that both splits have some.
WITHHELD_EVERY = 5


@dataclass(frozen=True, slots=True)
class Entity:
    """A person; the places and works of this world are what is said of people."""

    name: str
    status: Status
    split: Literal["train", "eval"]  # questions about `eval` entities only measure


@dataclass(frozen=True, slots=True)
class Fact:
    """One true triple."""

    id: str
    subject: Entity
    relation: Relation
    value: str
    stated: bool  # whether the corpus states it


@dataclass(frozen=True, slots=True)
class Passage:
    """What the corpus says about one entity; the unit of retrieval."""

    id: str
    title: str
    text: str
    facts: tuple[Fact, ...]


class FactWorld:
    """The world of a seed; another seed is another world."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        names = invented_names(self.draw("names"))
        # The objects of each relation, by its name.
        self.values: Mapping[str, Sequence[str]] = {
            relation.name: self._objects(relation, names) for relation in RELATIONS
        }
        made = self._entities(names)
        # What can be asked about, and the names to practise on.
        self.entities: Sequence[Entity] = [entity for entity in made if entity.status != Status.PRACTICE]
        self.practice: Sequence[Entity] = [entity for entity in made if entity.status == Status.PRACTICE]
        # All that is true, and the corpus.
        self.facts: Sequence[Fact] = self._facts()
        self.passages: Sequence[Passage] = self._passages()

    def draw(self, purpose: str) -> random.Random:
        """Return a random generator of its own for a purpose, so that no part of the world changes another."""
        return random.Random(f"fact-world-{self.seed}-{purpose}")

    def _objects(self, relation: Relation, names: Iterator[str]) -> Sequence[str]:
        if relation.nouns:
            return self.draw(f"objects-{relation.name}").sample(relation.nouns.split(), VALUES)
        return list(itertools.islice(names, VALUES))

    def _entities(self, names: Iterator[str]) -> Sequence[Entity]:
        return [
            Entity(next(names), status, "eval" if number % EVAL_EVERY.get(status, count + 1) == 0 else "train")
            for status, count in COUNTS.items()
            for number in range(1, count + 1)
        ]

    def _facts(self) -> Sequence[Fact]:
        draw = self.draw("facts")
        facts: list[Fact] = []
        unknown = 0
        for entity in self.entities:
            unknown += entity.status == Status.UNKNOWN
            withholds = entity.status == Status.UNKNOWN and unknown % WITHHELD_EVERY == 0
            withheld = draw.choice(RELATIONS) if withholds else None
            for relation in RELATIONS:
                value = draw.choice(self.values[relation.name])
                facts.append(Fact(f"f-{len(facts) + 1:04d}", entity, relation, value, relation is not withheld))
        return facts

    def _passages(self) -> Sequence[Passage]:
        draw = self.draw("passages")
        passages = []
        by_subject = itertools.groupby(self.facts, key=lambda fact: fact.subject)
        for number, (entity, facts) in enumerate(by_subject, 1):
            stated = [fact for fact in facts if fact.stated]
            draw.shuffle(stated)
            text = " ".join(statement(draw, entity, fact.relation, fact.value) for fact in stated)
            passages.append(Passage(f"d-{number:04d}", entity.name, text, tuple(stated)))
        return passages


def statement(draw: random.Random, entity: Entity, relation: Relation, value: str) -> str:
    """Return a sentence that states a triple, in one of its wordings."""
    return draw.choice(relation.statements).format(s=entity.name, o=value)
