"""What runs wrote, aligned: two answers to one prompt, and which of them is the worse one."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.report.comparing.support import passages_of, question_of, spans_of, unsupported
from engine.report.comparing.words import Span

if TYPE_CHECKING:
    from engine.store.samples import Sample

OUTCOMES = ("correct", "abstained", "hallucinated")  # from best to worst
_SCORES = ("score", "reward", "exact", "correct")  # the first one that both have tells which is better
_ENOUGH = 1e-6  # by which scores differ


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `weak` are its unsupported sentences, where an evaluation has judged them."""

    prompt: str
    question: str
    response: str
    reference: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    outcome: str | None = None
    passages: tuple[str, ...] = ()
    weak: tuple[str, ...] | None = None
    key: str = ""  # of a question that is known by an id

    @property
    def marks(self) -> tuple[Span, ...]:
        """The spans of the response that no passage supports."""
        if self.weak is not None:
            return spans_of(self.response, self.weak)
        return unsupported(self.response, self.passages)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt."""

    left: Said
    right: Said

    @property
    def is_regression(self) -> bool:
        """Whether the right one is worse: by its outcome, else by its score, else by the reference."""
        left, right = self.left, self.right
        if left.outcome in OUTCOMES and right.outcome in OUTCOMES:
            return OUTCOMES.index(right.outcome) > OUTCOMES.index(left.outcome)
        for name in _SCORES:
            before, after = left.scores.get(name), right.scores.get(name)
            if before is not None and after is not None and math.isfinite(before) and math.isfinite(after):
                return after < before - _ENOUGH
        return _is_right(left) and not _is_right(right)


Script = Mapping[int, Sequence[Said]]  # what a run wrote, by step, steps ascending


def of_samples(samples: Iterable[Sample]) -> dict[int, list[Said]]:
    """Return what a run logged of its answers."""
    found: dict[int, list[Said]] = defaultdict(list)
    for sample in samples:
        outcome = next((name for name in OUTCOMES if sample.scores.get(name) == 1.0), None)
        found[sample.step].append(
            Said(
                prompt=sample.prompt,
                question=question_of(sample.prompt),
                response=sample.response,
                reference=sample.reference,
                scores=sample.scores,
                outcome=outcome,
                passages=passages_of(sample.prompt),
            )
        )
    return dict(sorted(found.items()))


def of_answers(rows: Iterable[Mapping[str, Any]], step: int) -> dict[int, list[Said]]:
    """Return what an evaluation kept of its answers: all of them. step: how many questions it was asked."""
    said = []
    for row in rows:
        passages = tuple(
            f"{one['title']}: {one['text']}" if one["title"] else one["text"] for one in row["passages"] or ()
        )
        claims = row["claims"] or ()
        confidence = row["confidence"]
        said.append(
            Said(
                prompt="\n".join([*passages, row["question"]]),
                question=row["question"],
                response=row["response"],
                reference=" / ".join(row["answers"]) or None,
                scores={} if confidence is None else {"confidence": float(confidence)},
                outcome=row["outcome"],
                passages=passages,
                weak=tuple(one["text"] for one in claims if not one["supported"]) if claims else None,
                key=row["id"],
            )
        )
    return {step: said} if said else {}


def pairs(left: Sequence[Said], right: Sequence[Said]) -> list[Pair]:
    """Return the answers to the same prompts, in the order of the left ones.

    Prompts are the same by the id of their question, else word for word, else by their question alone: one may have
    been asked with passages and the other without. Each answer is used once.
    """
    taken: dict[int, Said] = {}
    used: set[int] = set()
    known_by: tuple[Callable[[Said], str], ...] = (
        lambda one: one.key,
        lambda one: one.prompt,
        lambda one: one.question,
    )
    for same in known_by:
        places: dict[str, list[int]] = defaultdict(list)
        for place, one in enumerate(right):
            if place not in used and same(one):
                places[same(one)].append(place)
        for number, one in enumerate(left):
            if number not in taken and same(one) and places.get(same(one)):
                place = places[same(one)].pop(0)
                taken[number] = right[place]
                used.add(place)
    return [Pair(left[number], taken[number]) for number in sorted(taken)]


def sides(scripts: Sequence[Script], other: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Return (place, step) of what stands at the left and at the right at first; null where there is nothing.

    The left is the baseline's last step, the right the last one of another run; of the baseline alone, its first and
    its last step.
    """
    steps = [list(script) for script in scripts]
    if not steps or not steps[0]:
        return None
    if other == 0:
        return ((0, steps[0][0]), (0, steps[0][-1])) if len(steps[0]) > 1 else None
    return ((0, steps[0][-1]), (other, steps[other][-1])) if other < len(steps) and steps[other] else None


def _is_right(said: Said) -> bool:
    return said.reference is not None and said.response.split() == said.reference.split()
