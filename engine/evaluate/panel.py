"""The figures of a system over all its answers. None suffices alone: who always abstains never hallucinates.

Each is a ratio over questions, so that `engine.evaluate.intervals` gives it an interval, alone or as a difference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from engine.evaluate.calibration import aurc, auroc, brier, calibration_error
from engine.evaluate.intervals import Ratio, mean_of
from engine.evaluate.outcomes import Judged

# Confidence from which an answer is worth giving (Kalai et al. 2025, "Why language models hallucinate").
TARGETS = (0.5, 0.75, 0.9)


def figures(judged: Sequence[Judged]) -> dict[str, Ratio]:
    """Return the figures of answers, in the order in which they are shown.

    | figure | what it is |
    |---|---|
    | correct, abstained, hallucinated, undetermined | shares of all answers; they sum to 1 |
    | score | correct − hallucinated, −1 … 1 (CRAG's truthfulness) |
    | score_at_T | correct − T / (1 − T) · hallucinated: what it is worth if only answers surer than T should be given |
    | hallucinated_of_attempted | of the answers that do not abstain |
    | over_refusal | abstained, of the answerable questions |
    | refusal_recall | abstained, of the questions without answer |
    | refusal_precision | questions without answer, of those where it abstained |
    | refusal_f1 | the harmonic mean of both |

    The last four leave out questions of which it is not known whether they are answerable.
    """
    correct, abstained, hallucinated, undetermined = (
        np.array([one.outcome == outcome for one in judged], dtype=np.float64)
        for outcome in ("correct", "abstained", "hallucinated", "undetermined")
    )
    answerable = np.array([one.answerable is True for one in judged], dtype=np.float64)
    unanswerable = np.array([one.answerable is False for one in judged], dtype=np.float64)
    refused, rightly = abstained * (answerable + unanswerable), abstained * unanswerable
    return {
        "correct": mean_of(correct),
        "abstained": mean_of(abstained),
        "hallucinated": mean_of(hallucinated),
        "undetermined": mean_of(undetermined),
        "score": mean_of(correct - hallucinated),
        **{f"score_at_{target}": mean_of(correct - target / (1 - target) * hallucinated) for target in TARGETS},
        "hallucinated_of_attempted": Ratio(hallucinated, 1 - abstained),
        "over_refusal": Ratio(abstained * answerable, answerable),
        "refusal_recall": Ratio(rightly, unanswerable),
        "refusal_precision": Ratio(rightly, refused),
        "refusal_f1": Ratio(2 * rightly, refused + unanswerable),
    }


def by_group(judged: Sequence[Judged]) -> dict[str, dict[str, Ratio]]:
    """Return the figures of each group of questions, by name; questions without group are in none."""
    members: dict[str, list[Judged]] = defaultdict(list)
    for one in judged:
        if one.group is not None:
            members[one.group].append(one)
    return {group: figures(members[group]) for group in sorted(members)}


def calibration_figures(judged: Sequence[Judged]) -> dict[str, float | None]:
    """Return how well confidence tells correct from hallucinated answers; None where that is undefined.

    Of the answers that are one of both and have a confidence; `ece`, `ece_equal_mass` and `brier` only where every
    confidence is a probability, 0 … 1.
    """
    told = [one for one in judged if one.outcome in ("correct", "hallucinated") and one.confidence is not None]
    confidence = np.array([one.confidence for one in told], dtype=np.float64)
    correct = np.array([one.outcome == "correct" for one in told], dtype=np.bool_)
    probable = bool(told) and bool(((confidence >= 0) & (confidence <= 1)).all())
    return {
        "auroc": auroc(confidence, correct),
        "aurc": aurc(confidence, correct),
        "ece": calibration_error(confidence, correct) if probable else None,
        "ece_equal_mass": calibration_error(confidence, correct, equal_mass=True) if probable else None,
        "brier": brier(confidence, correct) if probable else None,
    }
