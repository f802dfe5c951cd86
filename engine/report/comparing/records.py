"""What a page of one experiment, or of several side by side, says. Times are seconds since the epoch, UTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.report.comparing.saying import Said
from engine.report.records import Headline, Run
from engine.telemetry.health_observed import Verdict

LETTERS = "ABCDEFGH"  # of the experiments, in their order; the first one is the baseline


@dataclass(frozen=True, slots=True)
class Side:
    """One of the experiments. Its place among them gives it its letter and its colour."""

    place: int
    run: Run
    parent: str | None  # whose spec it was cloned from
    tags: tuple[str, ...]
    verdicts: tuple[Verdict, ...]  # on its health
    kl_target: float | None

    @property
    def letter(self) -> str:
        """The letter that it has wherever it is shown."""
        return LETTERS[self.place]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one experiment wrote to a prompt at a step."""

    place: int
    step: int
    said: Said


@dataclass(frozen=True, slots=True)
class Prompted:
    """A prompt, and what was written to it; the first answer is that of the baseline, or the earlier one."""

    answers: tuple[Answer, ...]
    is_regression: bool  # whether one of the others is worse than the first

    @property
    def first(self) -> Said:
        """The answer that the others are held against."""
        return self.answers[0].said


@dataclass(frozen=True, slots=True)
class SpecRow:
    """A key of specs that are not alike, and its values, one an experiment."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole."""

    sides: tuple[Side, ...]
    as_of: float | None  # when the database last heard of these experiments
    keys: int  # of specs in all
    differing: tuple[SpecRow, ...]
    headlines: tuple[Headline, ...]  # evaluations of these experiments, or among them
    notes: tuple[str, ...]
    prompts: Sequence[Prompted]  # some of those that were asked, those that became worse first
    asked: int  # how many prompts there are in all
    regressions: int  # of all

    @property
    def is_wide(self) -> bool:
        """Whether its tables need a wide page, which has room for three charts in a row."""
        return len(self.sides) > 2
