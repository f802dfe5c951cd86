"""The last value of a metric held against that of the baseline: difference, percent, better or worse."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.telemetry.directions import direction_of
from engine.telemetry.numbers import short


@dataclass(frozen=True, slots=True)
class Against:
    """A value held against that of the baseline. percent: null where the baseline's is 0."""

    difference: float
    percent: float | None
    verdict: str  # better, worse, same; empty where no direction is known


def against(name: str, value: float, baseline: float) -> Against | None:
    """Return what a value is to the baseline's; null unless both are finite numbers."""
    if not (math.isfinite(value) and math.isfinite(baseline)):
        return None
    difference = value - baseline
    percent = 100 * difference / abs(baseline) if baseline else None
    if short(value) == short(baseline):
        return Against(difference, percent, "same")
    direction = direction_of(name)
    return Against(difference, percent, "" if not direction else "better" if difference * direction > 0 else "worse")


def signed(value: float) -> str:
    """Return a difference with its sign; 0 has none."""
    text = short(value)
    return text if text in ("0", "-0") or text.startswith("-") else f"+{text}"


def percent_text(percent: float | None) -> str:
    """Return "+9.4%"; of what grew more than a hundredfold only that; empty where there is none."""
    if percent is None:
        return ""
    if abs(percent) >= 10_000:
        return ">×100" if percent > 0 else "<×-100"
    return f"{percent:+.0f}%" if abs(percent) >= 100 else f"{percent:+.1f}%"
