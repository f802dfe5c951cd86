"""A row for each question: what was answered, what it is, and why it failed where it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, get_args

from engine.data.answers import abstains_only, contains_answer, normalise
from engine.evaluate.asking import Asked, Given
from engine.evaluate.grounded import Grounding
from engine.evaluate.outcomes import Judged, Outcome

Cause = Literal[
    "retrieval_miss",
    "passage_ignored",
    "passage_misread",
    "fabrication",
    "answered_unanswerable",
    "over_refusal",
]
CAUSES: tuple[Cause, ...] = get_args(Cause)


@dataclass(frozen=True, slots=True)
class ScoredClaim:
    """A claim of an answer, and how well the passages that were read support it."""

    text: str
    cited: tuple[int, ...]
    score: float
    supported: bool


@dataclass(frozen=True, slots=True)
class ScoredChoice:
    """An answer of a multiple choice."""

    text: str
    right: bool
    log_prob: float  # nats, summed over its tokens


@dataclass(frozen=True, slots=True)
class Row:
    """What an evaluation keeps of a question beside the question itself."""

    response: str
    outcome: Outcome
    confidence: float | None
    probability: float  # of the whole answer; in a multiple choice its share of the probability of all choices
    per_token: float  # geometric mean of the probabilities of its tokens
    tokens: int
    ended: bool = True  # by itself, not by its length
    agreement: float | None = None  # share of the drawn answers that say the same
    samples: tuple[str, ...] = ()
    withheld: str | None = None  # the model's own answer, where too little support made it an abstention
    read: tuple[int, ...] | None = None  # places of the passages that were in the prompt; None: closed book
    citations: tuple[int, ...] = ()  # [n] is the n-th passage that was read
    wrong_citations: tuple[int, ...] = ()
    claims: tuple[ScoredClaim, ...] = ()
    grounding: Grounding | None = None
    hit: bool | None = None  # whether a passage that was read is relevant, or holds an answer; None: not known
    recall: float | None = None  # share of the relevant documents that were read; None: none is known
    cause: Cause | None = None  # of a failure
    choices: tuple[ScoredChoice, ...] | None = None
    mc1: bool | None = None
    mc2: float | None = None

    def record(self) -> dict[str, Any]:
        """Return it as what JSON has."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Return what `record` has written."""
        values = {one.name: record[one.name] for one in fields(cls)}
        for key in ("samples", "read", "citations", "wrong_citations"):
            values[key] = None if values[key] is None else tuple(values[key])
        values["claims"] = tuple(ScoredClaim(**{**one, "cited": tuple(one["cited"])}) for one in values["claims"])
        if values["grounding"] is not None:
            values["grounding"] = Grounding(**values["grounding"])
        if values["choices"] is not None:
            values["choices"] = tuple(ScoredChoice(**one) for one in values["choices"])
        return cls(**values)


def judged(asked: Asked, row: Row) -> Judged:
    """Return what figures and transitions are made of."""
    question = asked.question
    return Judged(question.id, row.outcome, question.answerable, question.group, row.confidence)


def written(asked: Asked, row: Row) -> dict[str, Any]:
    """Return the row of `answers.jsonl`: question, answer, and the passages that were read."""
    question, own = asked.question, row.record()
    read = own.pop("read")
    passages = None if read is None else [asdict(one) for one in passages_read(asked, row)]
    return {
        "id": question.id,
        "question": question.text,
        "group": question.group,
        "answerable": question.answerable,
        "answers": list(question.answers),
        **own,
        "passages": passages,
        "found": None if asked.passages is None else len(asked.passages),
    }


def passages_read(asked: Asked, row: Row) -> list[Given]:
    """Return the passages that were in the prompt, in order."""
    return [asked.passages[place] for place in row.read or ()] if asked.passages is not None else []


def retrieved(asked: Asked, read: Sequence[Given]) -> tuple[bool | None, float | None]:
    """Return whether the passages that were read hold what is needed, and the share of the relevant documents there.

    The passage of a question's own row is what is needed. Documents are judged where the question names relevant ones;
    else a passage that holds an accepted answer, word for word, is what is needed, and there is no share.
    """
    relevant = {name for name, grade in asked.question.relevant.items() if grade > 0}
    if asked.passages is None or asked.question.answerable is False:
        return None, None
    documents = {one.document for one in read}
    if read and documents == {""}:
        return True, None
    if relevant:
        return bool(relevant & documents), len(relevant & documents) / len(relevant)
    if asked.question.answers:
        return any(contains_answer(one.text, asked.question.answers) for one in read), None
    return None, None


def agreement(answer: str, samples: Sequence[str], abstentions: Sequence[str]) -> float | None:
    """Return the share of drawn answers that say what the answer says, as all abstentions do; None: none drawn."""
    if not samples:
        return None

    def said(text: str) -> str | None:
        return None if abstains_only(text, abstentions) else normalise(text)

    own = said(answer)
    return sum(said(one) == own for one in samples) / len(samples)


def cause_of(
    outcome: Outcome, *, answerable: bool | None, closed_book: bool, hit: bool | None, claims: Sequence[ScoredClaim]
) -> Cause | None:
    """Return why an answer failed; None if it did not, or nothing is known of it.

    The first that holds: a question without answer was answered; no passage that was read holds the answer; an answer
    abstains though there is one; a passage holds the answer and the claims rest on passages all the same (misread), or
    do not (ignored); nothing was read, or nobody knows whether it helps (fabrication).
    """
    failed = outcome == "hallucinated" or (outcome == "abstained" and answerable is True)
    if not failed:
        return None
    if answerable is False:
        return "answered_unanswerable"
    if not closed_book and hit is False:
        return "retrieval_miss"
    if outcome == "abstained":
        return "over_refusal"
    if closed_book or hit is None:
        return "fabrication"
    return "passage_misread" if any(claim.supported for claim in claims) else "passage_ignored"
