"""Whether a model's confidence tells its right answers from its wrong ones.

`confidence` and `correct` are [answers] everywhere: how sure the model is, the higher the surer, and whether it is
right. Answers of the same confidence are treated alike: their order never matters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]

BINS = 15


def auroc(confidence: Floats, correct: Truths) -> float | None:
    """Return how often a right answer has more confidence than a wrong one; a tie counts half. None without either.

    The area under the receiver operating characteristic, as Mann and Whitney's U.
    """
    _, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    right = int(correct.sum())
    pairs = right * (correct.size - right)
    if not pairs:
        return None
    # The mean rank of each distinct confidence, from 1.
    ranks = counts.cumsum() - (counts - 1) / 2
    return (float(ranks[place][correct].sum()) - right * (right + 1) / 2) / pairs


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What happens if only answers of at least some confidence are given: a point a distinct confidence, surest first.

    El-Yaniv and Wiener (2010), "On the foundations of noise-free selective classification".
    """

    threshold: Floats  # [points], the least confidence that is given
    coverage: Floats  # [points], share of the answers that are given, 0 … 1
    risk: Floats  # [points], share of these that are wrong


def risk_coverage(confidence: Floats, correct: Truths) -> RiskCoverage:
    """Return the risk–coverage curve; it has no points if there are no answers."""
    threshold, given, wrong = _cumulated(confidence, correct)
    return RiskCoverage(threshold, given / max(1, correct.size), wrong / given)


def aurc(confidence: Floats, correct: Truths) -> float | None:
    """Return the area under the risk–coverage curve: the mean risk over giving 1, 2, … all answers, surest first.

    Geifman and El-Yaniv (2017), eq. 5. Where equal confidences leave the order open, the mean over all orders.
    None if there are no answers.
    """
    if not correct.size:
        return None
    _, given, wrong = _cumulated(confidence, correct)
    # In a random order of equals, the expected number of wrong answers grows evenly.
    counted = np.arange(1, correct.size + 1)
    return float((np.interp(counted, np.append(0.0, given), np.append(0.0, wrong)) / counted).mean())


def _cumulated(confidence: Floats, correct: Truths) -> tuple[Floats, Floats, Floats]:
    """Return the distinct confidences, descending; and how many answers have that or more, and are wrong."""
    values, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    wrong = np.bincount(place, weights=~correct, minlength=values.size)
    return values[::-1], counts[::-1].cumsum().astype(np.float64), wrong[::-1].cumsum()


def calibration_error(
    confidence: Floats, correct: Truths, *, bins: int = BINS, equal_mass: bool = False
) -> float | None:
    """Return the expected calibration error: Σ over bins |correct − confidence|, their means, by share of answers.

    Guo et al. (2017), eq. 3, with bins of equal width, each without its lower edge. With `equal_mass` bins of equally
    many answers (Nixon et al. 2019); equal confidences then share what is right among them evenly. None without
    answers. Confidence must be 0 … 1.
    """
    if not correct.size:
        return None
    if equal_mass:
        order = np.argsort(confidence, kind="stable")
        _, place, counts = np.unique(confidence, return_inverse=True, return_counts=True)
        gaps = np.bincount(place, weights=correct)[place] / counts[place] - confidence
        parts = np.array_split(gaps[order], bins)
        return float(sum(abs(float(part.sum())) for part in parts)) / correct.size
    number = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(number, weights=correct - confidence, minlength=bins)).sum()) / correct.size


def brier(confidence: Floats, correct: Truths) -> float | None:
    """Return the mean of (confidence − correct)², correct 0 or 1 (Brier 1950); None without answers."""
    return float(np.square(confidence - correct).mean()) if correct.size else None
