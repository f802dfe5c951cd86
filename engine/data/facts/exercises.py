"""What a model is trained on in supervised fine-tuning: reading, remembering, and a little abstention."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.data.facts.language import ABSTENTION, RELATIONS, Relation
from engine.data.facts.questions import questions, training_wordings, with_passage
from engine.data.facts.world import Entity, Fact, FactWorld, Status, statement

# Examples of each known and of each rare fact, and of reading in all.
KNOWN_REPEATS = 7
RARE_REPEATS = 5
READING = 6400
# Closed-book questions on practice names, and how many in a hundred of them are answered with the abstention: what the
# model has no memory of it then mostly guesses, and sometimes says so. Without, PPO would have nothing to reinforce.
BLIND = 900
BLIND_ABSTENTIONS = 40


class Task(StrEnum):
    """What an example practises."""

    RECALL = "recall"  # closed book, a known fact
    GUESS = "guess"  # closed book, a rare fact, or a value that is not true
    ABSTAIN = "abstain"  # closed book, no answer is known
    READ = "read"  # one sentence of the passage answers
    READ_MISSING = "read_missing"  # the passage is about the subject and does not answer
    READ_OTHER = "read_other"  # the passage is about another subject


# Reading tasks, weighted: who abstains too often at the start never learns to read.
_READING_MIX = [Task.READ] * 16 + [Task.READ_MISSING] * 3 + [Task.READ_OTHER]


@dataclass(frozen=True, slots=True)
class Exercise:
    """A prompt and its response; the response is a value of the world, or the abstention."""

    prompt: str
    response: str
    task: Task
    level: int  # of a curriculum: sentences in the passage, plus 3 where the passage does not answer; 0: closed book
    fact: Fact | None  # None for practice values, which are not true


def training_exercises(world: FactWorld) -> Sequence[Exercise]:
    """Return the training examples, shuffled: nearly half reading, two fifths recall, the rest guesses."""
    draw = world.draw("exercises")
    exercises = [*_recalled(world), *_guessed(world, draw), *_read(world, draw)]
    draw.shuffle(exercises)
    return exercises


def _recalled(world: FactWorld) -> Iterator[Exercise]:
    for fact in world.facts:
        if fact.subject.status == Status.KNOWN:
            wordings = training_wordings(fact)
            for repeat in range(KNOWN_REPEATS):
                question = wordings[repeat % len(wordings)].format(s=fact.subject.name)
                yield Exercise(question, fact.value, Task.RECALL, 0, fact)


def _guessed(world: FactWorld, draw: random.Random) -> Iterator[Exercise]:
    for fact in world.facts:
        if fact.subject.status == Status.RARE:
            wordings = training_wordings(fact)
            for repeat in range(RARE_REPEATS):
                question = wordings[repeat % len(wordings)].format(s=fact.subject.name)
                yield Exercise(question, fact.value, Task.GUESS, 0, fact)
    for _ in range(BLIND):
        entity, relation = draw.choice(world.practice), draw.choice(RELATIONS)
        question = draw.choice(relation.questions).format(s=entity.name)
        if draw.randrange(100) < BLIND_ABSTENTIONS:
            yield Exercise(question, ABSTENTION, Task.ABSTAIN, 0, None)
        else:
            yield Exercise(question, draw.choice(world.values[relation.name]), Task.GUESS, 0, None)


def _read(world: FactWorld, draw: random.Random) -> Iterator[Exercise]:
    """Yield reading exercises on values that are not true: only the passage answers them, and no fact is given away."""
    true = {(fact.subject.name, fact.relation.name): fact.value for fact in world.facts}
    unknown = [entity for entity in world.entities if entity.status == Status.UNKNOWN]
    names = [*unknown, *world.practice]

    def practice_value(relation: Relation, *entities: Entity) -> str:
        """Return a value that is true of none of the entities that are named."""
        given_away = {true.get((entity.name, relation.name)) for entity in entities}
        return draw.choice([value for value in world.values[relation.name] if value not in given_away])

    for _ in range(READING):
        task = draw.choice(_READING_MIX)
        subject = draw.choice(names)
        about = subject
        while task == Task.READ_OTHER and about == subject:
            about = draw.choice(names)
        asked, *others = draw.sample(RELATIONS, len(RELATIONS))
        stated = others[: draw.randint(1, len(others))] if task == Task.READ_MISSING else [asked, *others]
        if task == Task.READ:
            stated = stated[: draw.randint(1, len(stated))]
        values = {relation.name: practice_value(relation, about, subject) for relation in stated}
        sentences = [statement(draw, about, relation, values[relation.name]) for relation in stated]
        draw.shuffle(sentences)
        question = draw.choice(asked.questions).format(s=subject.name)
        answered = task == Task.READ
        response = values[asked.name] if answered else ABSTENTION
        level = len(sentences) + (0 if answered else 3)
        yield Exercise(with_passage(" ".join(sentences), question), response, task, level, None)


def evaluation_exercises(world: FactWorld) -> Sequence[Exercise]:
    """Return held-out examples: known facts in new words, and true passages on entities that are not known.

    The first four show one answer of each sort, the last of them to a question whose answer the model cannot know; the
    others of that sort are left out, because no training lowers their loss.
    """
    by_task: dict[Task, list[Exercise]] = {task: [] for task in (Task.RECALL, Task.READ, Task.READ_MISSING, Task.GUESS)}
    for question in questions(world):
        if question.fact.subject.split == "train":
            continue
        answer = question.fact.value
        opened, stated = with_passage(question.passage.text, question.text), len(question.passage.facts)
        if question.group == "known":
            by_task[Task.RECALL].append(Exercise(question.text, answer, Task.RECALL, 0, question.fact))
        elif question.group == "unanswerable":
            by_task[Task.READ_MISSING].append(
                Exercise(opened, ABSTENTION, Task.READ_MISSING, stated + 3, question.fact)
            )
        elif question.group == "unknown":
            by_task[Task.READ].append(Exercise(opened, answer, Task.READ, stated, question.fact))
            by_task[Task.GUESS].append(Exercise(question.text, answer, Task.GUESS, 0, question.fact))
    draw = world.draw("evaluation")
    for exercises in by_task.values():
        draw.shuffle(exercises)
    recall, read, missing, guess = by_task.values()
    rest = [*recall[1:], *read[1 : len(recall)], *missing[1:]]
    draw.shuffle(rest)
    return [recall[0], read[0], missing[0], guess[0], *rest]
