"""What changed from one system to another that was asked the same questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.evaluate.intervals import mcnemar
from engine.evaluate.outcomes import OUTCOMES, Judged, Outcome


@dataclass(frozen=True, slots=True)
class Transitions:
    """From each outcome to each. The lists are ids of questions, in the order of the first system; they overlap."""

    counts: Mapping[Outcome, Mapping[Outcome, int]]  # by the outcome before, then after
    mended: tuple[str, ...]  # correct, and was not
    broken: tuple[str, ...]  # was correct, and is not
    newly_abstains: tuple[str, ...]
    newly_hallucinates: tuple[str, ...]
    p_correct: float  # McNemar's, that both are equally often correct
    p_hallucinated: float  # that both hallucinate equally often
    unpaired: int  # questions that only one of the two was asked; they count nowhere


def transitions(before: Sequence[Judged], after: Sequence[Judged]) -> Transitions:
    """Return what changed, question by question."""
    new = {one.question: one.outcome for one in after}
    pairs = [(one.question, one.outcome, new[one.question]) for one in before if one.question in new]
    counted = Counter((was, now) for _, was, now in pairs)
    gained = {outcome: tuple(name for name, was, now in pairs if was != outcome == now) for outcome in OUTCOMES}
    lost = {outcome: tuple(name for name, was, now in pairs if was == outcome != now) for outcome in OUTCOMES}
    return Transitions(
        counts={was: {now: counted[was, now] for now in OUTCOMES} for was in OUTCOMES},
        mended=gained["correct"],
        broken=lost["correct"],
        newly_abstains=gained["abstained"],
        newly_hallucinates=gained["hallucinated"],
        p_correct=mcnemar(len(gained["correct"]), len(lost["correct"])),
        p_hallucinated=mcnemar(len(gained["hallucinated"]), len(lost["hallucinated"])),
        unpaired=len(before) + len(after) - 2 * len(pairs),
    )
