"""Numbers, times and states in the words of a report."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime

from engine.plan.sizes import in_words
from engine.report.records import Figure
from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import duration, short

NOTHING = "–"
OUTCOMES = ("correct", "abstained", "hallucinated", "undetermined")
# Figures that are no share of questions.
_PLAIN = frozenset({"score", "score_at_0.5", "score_at_0.75", "score_at_0.9", "claims_per_answer"})
NAMES: Mapping[str, str] = {
    "hallucinated_of_attempted": "hallucinated, of attempted",
    "over_refusal": "over-refusal",
    "refusal_recall": "refusal recall",
    "refusal_precision": "refusal precision",
    "refusal_f1": "refusal F1",
    "citation_recall": "citation recall",
    "citation_precision": "citation precision",
    "claims_per_answer": "claims an answer",
    "mc1": "MC1",
    "mc2": "MC2",
    "hit": "retrieval hit",
}
CAUSES: Mapping[str, str] = {
    "retrieval_miss": "no passage that it read holds the answer",
    "passage_ignored": "a passage holds the answer, and it says something else",
    "passage_misread": "a passage holds the answer, and it took another statement of passages",
    "fabrication": "made up: it had no passages, or nobody knows whether they help",
    "answered_unanswerable": "it answered a question that has no answer",
    "over_refusal": "it abstained from a question that has an answer",
}


def percent(share: float) -> str:
    """Return "97.3%"."""
    return f"{_rounded(100 * share)}%"


def value_of(name: str, value: float) -> str:
    """Return a figure as it is shown: a share in percent, a score as it is."""
    return _signed(value, 3) if name.startswith("score") else short(value) if name in _PLAIN else percent(value)


def interval_of(name: str, figure: Figure | None) -> str:
    """Return "95.0–98.7"; empty if there is none."""
    if figure is None or figure.low is None or figure.high is None:
        return ""
    if name.startswith("score"):
        return f"{_signed(figure.low, 3)} to {_signed(figure.high, 3)}"
    if name in _PLAIN:
        return f"{short(figure.low)}\N{EN DASH}{short(figure.high)}"
    return f"{_rounded(100 * figure.low)}\N{EN DASH}{_rounded(100 * figure.high)}"


def points_of(name: str, figure: Figure | None) -> str:
    """Return a difference: "+32.1 points (28.0 to 36.2)", of scores without points."""
    if figure is None:
        return NOTHING
    scale, unit, digits = (1.0, "", 3) if name in _PLAIN else (100.0, " points", 1)
    text = f"{_signed(scale * figure.value, digits)}{unit}"
    if figure.low is None or figure.high is None:
        return text
    return f"{text} ({_signed(scale * figure.low, digits)} to {_signed(scale * figure.high, digits)})"


def is_significant(figure: Figure | None) -> bool:
    """Whether the interval of a difference holds no 0."""
    return figure is not None and figure.low is not None and figure.high is not None and figure.low * figure.high > 0


def p_value(p: float) -> str:
    """Return "p < 0.001" or "p = 0.042"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.9995 else "p = 1"


def named(name: str) -> str:
    """Return the name of a figure in words."""
    return NAMES.get(name, name.replace("score_at_", "score at ").replace("_", " "))


def moment(seconds: float | None) -> str:
    """Return "2026-11-26 15:04 UTC"."""
    return NOTHING if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def lasted(begin: float | None, end: float | None) -> str:
    """Return how long something took."""
    return NOTHING if begin is None or end is None else duration(end - begin)


def plain(value: float | None) -> str:
    """Return a number of any size; a dash for none."""
    return NOTHING if value is None else short(value, 4)


def measured(name: str, value: float | None) -> str:
    """Return the value of a metric with its unit."""
    unit = unit_of(name)
    if value is None or unit in (None, "1"):
        return plain(value)
    return in_words(value) if unit == "bytes" else f"{plain(value)} {unit}"


def value_text(value: object) -> str:
    """Return a value of a spec in one line; a dash for none."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return short(value, 6)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def typographic(text: str) -> str:
    """Return a number with a minus sign in place of its hyphen."""
    return re.sub(r"(?<![A-Za-z0-9])-(?=[0-9])", "\N{MINUS SIGN}", text)


def counted(count: int, noun: str) -> str:
    """Return "1 question", "1,200 questions"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _rounded(value: float) -> str:
    text = f"{value:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "\N{MINUS SIGN}")


def _signed(value: float, digits: int) -> str:
    if not math.isfinite(value):
        return str(value)
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
