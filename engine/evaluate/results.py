"""What an evaluation leaves: `answers.jsonl`, a row a question, and `panel.json`, all figures with their intervals.

Both depend on the questions, the model and the spec alone: there is no time and no path in them.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InvalidInput, NotFound
from engine.evaluate import answer_rows
from engine.evaluate.answer_rows import CAUSES, Row
from engine.evaluate.asking import Asked
from engine.evaluate.calibration import BINS, risk_coverage
from engine.evaluate.grounded import Grounding, grounding_figures
from engine.evaluate.intervals import Interval, Ratio, bootstrap, mean_of, wilson
from engine.evaluate.outcomes import OUTCOMES, Judged
from engine.evaluate.panel import calibration_figures, figures

ANSWERS, PANEL = "answers.jsonl", "panel.json"
FORMAT = 1
CURVE_POINTS = 200
_NO_CLAIMS = Grounding(0, 0, 0, 0, 0, 0, 0, 0, 0)
# Figures that need a closed world, which an evaluation of texts has not.
_OF_A_WORLD = ("claim_precision", "true_grounded", "true_ungrounded", "false_grounded", "false_ungrounded")

Pair = tuple[Asked, Row]


def write_answers(pairs: Sequence[Pair], file: Path) -> None:
    """Write the row of each question, in order."""
    with file.open("w", encoding="utf-8", newline="\n") as lines:
        for asked, row in pairs:
            lines.write(json.dumps(answer_rows.written(asked, row), ensure_ascii=False, allow_nan=False) + "\n")


def read_answers(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of an evaluation. Raises NotFound if the folder holds none."""
    _require(folder)
    with (folder / ANSWERS).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def read_panel(folder: Path) -> dict[str, Any]:
    """Return the panel of an evaluation.

    Raises:
        NotFound: if the folder holds none.
        InvalidInput: if it is damaged, or of another version.
    """
    _require(folder)
    try:
        panel = json.loads((folder / PANEL).read_bytes())
    except ValueError as error:
        raise InvalidInput("is damaged.", where=str(folder / PANEL)) from error
    if not isinstance(panel, dict) or panel.get("format") != FORMAT:
        raise InvalidInput("was written by another version.", hint="Evaluate again.", where=str(folder / PANEL))
    return panel


def judged_of(panel: Mapping[str, Any]) -> list[Judged]:
    """Return the answers of a panel, for comparisons question by question."""
    return [
        Judged(one["id"], one["outcome"], one["answerable"], one["group"], one["confidence"])
        for one in panel["outcomes"]
    ]


def panel_of(pairs: Sequence[Pair], settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return the panel of answers: `docs/evaluation.md` has its form.

    Arguments:
        settings: what the figures depend on, to be told with them.
        seed: of the bootstrap.
    """
    judged = [answer_rows.judged(*pair) for pair in pairs]
    groups: dict[str, list[Pair]] = defaultdict(list)
    for pair, one in zip(pairs, judged, strict=True):
        if one.group is not None:
            groups[one.group].append(pair)
    causes = Counter(row.cause for _, row in pairs)
    return {
        "format": FORMAT,
        "settings": dict(settings),
        **_part(pairs, seed),
        "by": {name: _part(groups[name], seed) for name in sorted(groups)},
        "calibration": _calibration(pairs, judged),
        "retrieval": _retrieval(pairs, seed),
        "causes": {cause: causes[cause] for cause in CAUSES},
        "outcomes": [
            {
                "id": one.question,
                "outcome": one.outcome,
                "confidence": one.confidence,
                "group": one.group,
                "answerable": one.answerable,
            }
            for one in judged
        ],
    }


def ratios(pairs: Sequence[Pair]) -> dict[str, Ratio]:
    """Return all figures of answers: of outcomes, and of choices, passages and claims where there are any."""
    rows = [row for _, row in pairs]
    found = figures([answer_rows.judged(*pair) for pair in pairs])
    if any(row.mc1 is not None for row in rows):
        found["mc1"] = mean_of([row.mc1 or False for row in rows])
        found["mc2"] = mean_of([row.mc2 or 0.0 for row in rows])
    if any(row.read is not None for row in rows):
        found["hit"] = _of_known([row.hit for row in rows])
        found["recall"] = _of_known([row.recall for row in rows])
    if any(row.grounding is not None for row in rows):
        grounded = grounding_figures([row.grounding or _NO_CLAIMS for row in rows])
        found |= {name: ratio for name, ratio in grounded.items() if name not in _OF_A_WORLD}
    return found


def _of_known(values: Sequence[float | None]) -> Ratio:
    return Ratio.of([value or 0.0 for value in values], [value is not None for value in values])


def _part(pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    counts, found = Counter(row.outcome for _, row in pairs), ratios(pairs)
    intervals = {name: _honest(one, found[name]) for name, one in bootstrap(found, seed=seed).items()}
    return {
        "questions": len(pairs),
        "counts": {outcome: counts[outcome] for outcome in OUTCOMES},
        "figures": {name: None if one is None else asdict(one) for name, one in intervals.items()},
    }


def _honest(interval: Interval | None, ratio: Ratio) -> Interval | None:
    """Return Wilson's interval for a rate of 0 or 1: all its resamples are alike, however few questions it is of."""
    counted = ratio.denominators > 0
    plain = np.isin(ratio.numerators[counted], (0.0, 1.0)).all() and (ratio.denominators[counted] == 1.0).all()
    if interval is None or interval.low < interval.high or interval.value not in (0.0, 1.0) or not plain:
        return interval
    return wilson(int(ratio.numerators.sum()), int(counted.sum()))


def _retrieval(pairs: Sequence[Pair], seed: int) -> dict[str, Any] | None:
    """Return the figures where what is needed was read, and where it was not."""
    known = [(pair, pair[1].hit) for pair in pairs if pair[1].hit is not None]
    if not known:
        return None
    hit, miss = ([pair for pair, there in known if there is wanted] for wanted in (True, False))
    return {"judged": len(known), "hit": _part(hit, seed), "miss": _part(miss, seed)}


def _calibration(pairs: Sequence[Pair], judged: Sequence[Judged]) -> dict[str, Any]:
    told = [one for one in judged if one.outcome in ("correct", "hallucinated") and one.confidence is not None]
    confidence = np.array([one.confidence for one in told], dtype=np.float64)
    correct = np.array([one.outcome == "correct" for one in told], dtype=np.bool_)
    curve = risk_coverage(confidence, correct)
    points = np.unique(np.linspace(0, max(0, curve.coverage.size - 1), CURVE_POINTS).astype(np.int64))
    kinds: dict[str, Callable[[Row], float | None]] = {
        "probability": lambda row: row.probability,
        "per_token": lambda row: row.per_token,
        "agreement": lambda row: row.agreement,
    }
    return {
        "answers": len(told),
        **calibration_figures(judged),
        "by_confidence": {
            kind: calibration_figures(
                [replace(one, confidence=of(row)) for one, (_, row) in zip(judged, pairs, strict=True)]
            )
            for kind, of in kinds.items()
        },
        "risk_coverage": [
            {
                "threshold": float(curve.threshold[at]),
                "coverage": float(curve.coverage[at]),
                "risk": float(curve.risk[at]),
            }
            for at in points[: curve.coverage.size]
        ],
        "reliability": list(_bins(confidence, correct)),
    }


def _bins(confidence: np.ndarray[Any, Any], correct: np.ndarray[Any, Any]) -> Iterator[dict[str, float | int]]:
    """Yield the bins of the calibration error that hold answers."""
    number = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    for at in np.unique(number):
        inside = number == at
        yield {
            "low": float(at / BINS),
            "high": float((at + 1) / BINS),
            "answers": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "correct": float(correct[inside].mean()),
        }


def _require(folder: Path) -> None:
    if not (folder / PANEL).is_file() or not (folder / ANSWERS).is_file():
        raise NotFound(
            "there is no evaluation: panel.json or answers.jsonl is missing.",
            hint="It is the folder `evaluation` in the run directory of engine eval.",
            where=str(folder),
        )
