"""What rules of health look at, and what they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.records import Level
from engine.telemetry.smoothing import Floats

RECENT = 64  # points that tell how long a step takes


class Points(Protocol):
    """One series: [n] points, by ascending step."""

    @property
    def step(self) -> NDArray[np.int64]: ...

    @property
    def time(self) -> Floats: ...  # seconds since the epoch, UTC

    @property
    def value(self) -> Floats: ...


class Act(StrEnum):
    """What a person would do about a verdict."""

    KILL = "kill"  # engine stop EXP --now
    INTERRUPT = "interrupt"  # engine stop EXP
    SAMPLES = "samples"  # engine samples EXP
    LOG = "log"  # engine logs EXP


@dataclass(frozen=True, slots=True)
class RankMark:
    """The last mark that a rank left."""

    rank: int
    host: str
    step: int
    phase: str
    seconds: float  # since then


@dataclass(frozen=True, slots=True)
class Observed:
    """What is known of a run at one moment."""

    kind: str
    running: bool
    series: Mapping[str, Points]
    now: float  # seconds since the epoch
    kl_target: float | None = None  # nats per sequence
    heard: bool = True  # whether its nodes report
    ranks: Sequence[RankMark] = ()  # those that left a mark


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a run."""

    rule: str
    level: Level
    sentence: str
    step: int | None  # since when; null where it is no matter of steps
    evidence: str  # the figures behind the sentence
    act: Act | None = None  # null: nothing is left to do


Rule = Callable[[Observed], Verdict | None]


def seconds_per_step(series: Mapping[str, Points]) -> float | None:
    """Return the median time of a step over the last points, in seconds; null before there are two.

    series: whole, or of some the last `RECENT` points. The one that is written most often tells it.
    """
    often = max(series.values(), key=_often, default=None)
    if often is None or often.step.size < 2:
        return None
    steps, times = np.diff(often.step[-RECENT:]), np.diff(often.time[-RECENT:])
    forward = (steps > 0) & (times >= 0)
    return float(np.median(times[forward] / steps[forward])) if forward.any() else None


def _often(points: Points) -> tuple[int, int]:
    """Return what is larger of a series with more points and, of two with enough of them, in fewer steps."""
    last = points.step[-RECENT:]
    return last.size, int(last[0] - last[-1]) if last.size else 0
