"""What each answer is: correct, abstained or hallucinated, as in CRAG (Yang et al. 2024, "CRAG")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.data.answers import Verdict, verdict
from engine.evaluate.judgements import Question

Outcome = Verdict | Literal["undetermined"]
OUTCOMES: tuple[Outcome, ...] = ("correct", "abstained", "hallucinated", "undetermined")


@dataclass(frozen=True, slots=True)
class Grading:
    """How answers are judged."""

    abstentions: tuple[str, ...]  # an answer that begins with one of these, and leaves it at that, abstains
    f1_from: float | None = None  # token F1 from which an answer is correct; None: only an accepted answer itself is
    abstain_below: float | None = None  # answers of lower confidence count as withheld; None: none does


@dataclass(frozen=True, slots=True)
class Judged:
    """What one answer is, and what is known of its question."""

    question: str  # its id
    outcome: Outcome
    answerable: bool | None = None
    group: str | None = None
    confidence: float | None = None  # of the model in its answer; the higher, the surer


def judge(question: Question, response: str, grading: Grading, confidence: float | None = None) -> Judged:
    """Return what a response to a question is. One whose confidence is too low was withheld: it abstains.

    `I don't know, but it is X` is judged by X. A question of which neither an answer is known, nor that it has none,
    makes any answer but an abstention undetermined.
    """
    outcome: Outcome
    withheld = grading.abstain_below is not None and confidence is not None and confidence < grading.abstain_below
    if withheld:
        outcome = "abstained"
    else:
        outcome = verdict(
            response,
            question.answers,
            question.answerable,
            grading.abstentions,
            f1_from=grading.f1_from,
            strictly=True,
        )
        if outcome == "hallucinated" and not question.answers and question.answerable is not False:
            outcome = "undetermined"
    return Judged(question.id, outcome, question.answerable, question.group, confidence)


@dataclass(frozen=True, slots=True)
class Stated:
    """A claim of an answer, held against a closed world."""

    asked: bool  # whether it answers the question: it is of the subject and relation that were asked for
    true: bool | None  # None: the world cannot tell, or the sentence could not be read


def claims_outcome(stated: Sequence[Stated], *, answerable: bool, abstains: bool) -> Outcome:
    """Return what an answer is by all that it claims, where a closed world knows what is true.

    It abstains if it says so and claims nothing. It is correct if there is an answer, and it claims that and nothing
    false. One that is neither, and could be correct but for claims that cannot be told, is undetermined.

    Arguments:
        answerable: whether any passage states the answer.
        abstains: whether it begins with an abstention, whatever follows.
    """
    if abstains and not stated:
        return "abstained"
    if not answerable or any(claim.true is False for claim in stated):
        return "hallucinated"
    if all(claim.true for claim in stated):
        return "correct" if any(claim.asked for claim in stated) else "hallucinated"
    return "undetermined"
