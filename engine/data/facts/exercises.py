"""What a model is trained on in supervised fine-tuning: reading, remembering, and a little abstention."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from engine.data.facts.language import ABSTENTION, RELATIONS, Relation
from engine.data.facts.questions import questions, training_wordings, with_passage
from engine.data.facts.world import Entity, Fact, FactWorld, Status, statement

# Examples of each known and of each rare fact, and of reading in all. One pass over them is a training: what is read
# again and again is learned by heart, and not how to read.
KNOWN_REPEATS = 30
RARE_REPEATS = 20
READING = 28_000
# Closed-book questions on practice names, and how many in a hundred of them are answered with the abstention: what the
# model has no memory of it then mostly guesses, and sometimes says so. Without, PPO would have nothing to reinforce.
BLIND = 3900
BLIND_ABSTENTIONS = 6


class Task(StrEnum):
    """What an example practises."""

    RECALL = "recall"  # closed book, a known fact
    GUESS = "guess"  # closed book, a rare fact, or a value that is not true
    ABSTAIN = "abstain"  # closed book, no answer is known
    READ = "read"  # one sentence of the passage answers
    READ_MISSING = "read_missing"  # the passage is about the subject and does not answer
    READ_OTHER = "read_other"  # the passage is about another subject


@dataclass(frozen=True, slots=True)
class _Stage:
    """A part of the curriculum of reading."""

    until: float  # share of the reading exercises, from the first on
    sentences: tuple[int, int]  # the fewest and the most of a passage
    tasks: Sequence[Task]  # that are drawn from


# Who has to choose between four sentences before it can copy from one, or abstains often at the start, learns to read
# three times as slowly, or never.
_CURRICULUM = (
    _Stage(0.15, (1, 1), [Task.READ]),
    _Stage(0.3, (1, 2), [Task.READ] * 18 + [Task.READ_MISSING] + [Task.READ_OTHER]),
    _Stage(0.5, (1, 3), [Task.READ] * 17 + [Task.READ_MISSING] * 2 + [Task.READ_OTHER]),
    _Stage(1.0, (3, 4), [Task.READ] * 17 + [Task.READ_MISSING] * 2 + [Task.READ_OTHER]),
)


@dataclass(frozen=True, slots=True)
class Exercise:
    """A prompt and its response; the response is a value of the world, or the abstention."""

    prompt: str
    response: str
    task: Task
    level: int  # how hard it is: sentences in the passage, plus 3 where the passage does not answer; 0: closed book
    fact: Fact | None  # None for practice values, which are not true


def training_exercises(world: FactWorld) -> Sequence[Exercise]:
    """Return the training examples, in the order in which they are to be learned.

    Reading, nearly half of them, grows harder; two fifths recall and the rest guess, evenly everywhere.
    """
    draw = world.draw("exercises")
    closed = [*_recalled(world), *_guessed(world, draw)]
    reading = list(_read(world, draw))
    placed = [(draw.random(), exercise) for exercise in closed]
    placed += [((number + draw.random()) / len(reading), exercise) for number, exercise in enumerate(reading)]
    return [exercise for _, exercise in sorted(placed, key=lambda pair: pair[0])]


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
        while (value := draw.choice(world.values[relation.name])) in given_away:
            pass
        return value

    for number in range(READING):
        stage = next(stage for stage in _CURRICULUM if number < stage.until * READING)
        task, count = draw.choice(stage.tasks), draw.randint(*stage.sentences)
        subject = draw.choice(names)
        about = subject
        while task == Task.READ_OTHER and about == subject:
            about = draw.choice(names)
        asked, *others = draw.sample(RELATIONS, len(RELATIONS))
        stated = (others if task == Task.READ_MISSING else [asked, *others])[:count]
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
