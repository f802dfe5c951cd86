"""How well a scorer tells supported claims from others, and from which score on, by claims that people labelled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.data.conversations import Unusable
from engine.data.sources import BrokenRows, Row, read_rows
from engine.errors import InvalidInput
from engine.evaluate.calibration import Floats, Truths, auroc
from engine.evaluate.faithfulness.scorer import Pair, Scorer

_HINT = "Rows have claim, passages and supported (true or false), or knowledge, right_answer and hallucinated_answer."


@dataclass(frozen=True, slots=True)
class Labelled:
    """A claim, and whether its premises support it."""

    pair: Pair
    supported: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """A scorer on labelled claims."""

    scorer: str
    version: str
    sha256: str | None
    auroc: float
    threshold: float  # of the largest balanced accuracy; the highest of equally good ones
    balanced_accuracy: float  # at that threshold, on the same claims: a little too good for others
    balanced_accuracy_before: float  # at the scorer's present threshold
    supported: int
    unsupported: int


def calibrate(scorer: Scorer, rows: Sequence[Labelled]) -> Calibration:
    """Return how good a scorer is on labelled claims, and its best threshold there.

    Raises:
        InvalidInput: unless there are both supported and unsupported claims.
    """
    truth = np.array([row.supported for row in rows], dtype=np.bool_)
    scores = np.array(scorer.score([row.pair for row in rows]), dtype=np.float64)
    area = auroc(scores, truth)
    if area is None:
        there = "supported" if truth.any() else "unsupported"
        raise InvalidInput(
            f"all {truth.size} labelled claims are {there}.", hint="A scorer is calibrated on both kinds."
        )
    candidates = np.unique(scores)[::-1]
    accuracies = _balanced_accuracy(scores, truth, candidates)
    best = int(np.round(accuracies, 12).argmax())  # equal ones differ in their last bits; the highest threshold counts
    return Calibration(
        scorer=scorer.name,
        version=scorer.version,
        sha256=scorer.sha256,
        auroc=area,
        threshold=float(candidates[best]),
        balanced_accuracy=float(accuracies[best]),
        balanced_accuracy_before=float(_balanced_accuracy(scores, truth, np.array([scorer.threshold]))[0]),
        supported=int(truth.sum()),
        unsupported=int((~truth).sum()),
    )


def _balanced_accuracy(scores: Floats, truth: Truths, thresholds: Floats) -> Floats:
    """Return the mean of the shares of supported and of other claims that are told right, [thresholds]."""
    found = 1 - np.searchsorted(np.sort(scores[truth]), thresholds) / truth.sum()
    rejected = np.searchsorted(np.sort(scores[~truth]), thresholds) / (~truth).sum()
    return np.asarray((found + rejected) / 2, dtype=np.float64)


def read_labelled(path: Path) -> list[Labelled]:
    """Return the labelled claims of a file.

    Rows hold `claim`, `passages` (a text or a list of texts) and `supported`, and may hold `question`; or, as HaluEval
    has them (Li et al. 2023), `knowledge`, `question`, `right_answer` and `hallucinated_answer`: two claims.

    Raises:
        InvalidInput: if the file cannot be read, a row is broken, or there is none.
    """
    broken = BrokenRows("error")
    found: list[Labelled] = []
    for row in read_rows(path, broken):
        try:
            found.extend(_labelled(row))
        except Unusable as problem:
            broken.add(row.place, str(problem))
    broken.report(len(found))
    if not found:
        raise InvalidInput("there are no labelled claims.", hint=_HINT, where=str(path))
    return found


def _labelled(row: Row) -> Iterator[Labelled]:
    values = row.values
    question = values.get("question") or ""
    if "right_answer" in values:
        premises = _texts(values, "knowledge")
        for key, supported in (("right_answer", True), ("hallucinated_answer", False)):
            (claim,) = _texts(values, key)
            yield Labelled(Pair(premises, claim, str(question)), supported)
        return
    label = values.get("supported")
    if not isinstance(label, bool):
        raise Unusable("has no 'supported' that is true or false")
    claims = _texts(values, "claim")
    if len(claims) != 1:
        raise Unusable("has several claims")
    yield Labelled(Pair(_texts(values, "passages"), claims[0], str(question)), label)


def _texts(values: dict[str, Any], key: str) -> tuple[str, ...]:
    given = values.get(key)
    listed = given if isinstance(given, list) else [given]
    if not listed or not all(isinstance(text, str) and text.strip() for text in listed):
        raise Unusable(f"has no {key!r} that is a text")
    return tuple(listed)
