"""Evaluations as a report knows them: by their files where these are at hand, else by what the database heard."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import PlumblineError
from engine.evaluate.outcomes import Judged
from engine.evaluate.results import judged_of, read_answers, read_panel
from engine.report.records import Figure, Part
from engine.store.text import storable_document
from engine.telemetry.states import ENDED_AS, State

if TYPE_CHECKING:
    from engine.spec.models import EvalSpec
    from engine.store.experiment import Experiment

_HEARD = ("correct", "abstained", "hallucinated", "score", "over_refusal", "mc1", "mc2", "groundedness")
_BY_GROUP = ("correct", "abstained", "hallucinated")


@dataclass(frozen=True)
class Known:
    """An evaluation. panel: null where its files are not at hand. note: what is to be said of its figures."""

    experiment: Experiment
    spec: EvalSpec
    folder: Path | None
    panel: Mapping[str, Any] | None
    note: str | None

    @cached_property
    def judged(self) -> list[Judged]:
        """The answers, for comparisons; none without the panel."""
        return judged_of(self.panel) if self.panel is not None else []

    @property
    def part(self) -> Part | None:
        """The figures over all questions; null if there are none yet."""
        if self.panel is not None:
            return _part(self.panel)
        return _heard(self.experiment, "", _HEARD)

    @property
    def groups(self) -> dict[str, Part]:
        """The figures of each group of questions, by name."""
        if self.panel is not None:
            return {name: _part(one) for name, one in self.panel["by"].items()}
        names = sorted(name.removeprefix("correct/") for name in self.experiment.last if name.startswith("correct/"))
        found = {name: _heard(self.experiment, f"/{name}", _BY_GROUP) for name in names}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def retrieval(self) -> dict[str, Part]:
        """The figures where a passage held what is needed (`hit`), and where none did (`miss`)."""
        split = self.panel["retrieval"] if self.panel is not None else None
        return {name: _part(split[name]) for name in ("hit", "miss")} if split is not None else {}

    @property
    def causes(self) -> dict[str, int]:
        """How many answers failed for which cause."""
        return {cause: int(count) for cause, count in self.panel["causes"].items()} if self.panel is not None else {}

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """How well confidence tells right from wrong; null if there was no confidence."""
        found = self.panel["calibration"] if self.panel is not None else None
        return found if found is not None and found["answers"] else None

    def rows(self, ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the rows of `answers.jsonl` of some questions, by id. Raises PlumblineError, OSError or ValueError."""
        if self.folder is None or not ids:
            return {}
        return {row["id"]: storable_document(row) for row in read_answers(self.folder) if row["id"] in ids}


def known(experiment: Experiment, spec: EvalSpec, folder: Path | None) -> Known:
    """Return what is known of an evaluation. folder: of its results, on this machine; null if they are not at hand."""
    if folder is not None:
        try:
            panel = storable_document(read_panel(folder))
            whole = Known(experiment, spec, folder, panel, _unfinished(experiment, panel))
            # What is damaged shows here, and not halfway through the page.
            _ = whole.judged, whole.part, whole.groups, whole.retrieval, whole.causes, whole.calibration
        except PlumblineError as error:
            return Known(experiment, spec, None, None, f"Its panel.json cannot be used: it {error.message}")
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            return Known(experiment, spec, None, None, "Its panel.json is damaged.")
        return whole
    return Known(experiment, spec, None, None, _unfinished(experiment, None))


def _unfinished(experiment: Experiment, panel: Mapping[str, Any] | None) -> str | None:
    if experiment.state is State.SUCCEEDED:
        return None if panel is not None else "By the database alone: no intervals, no comparison, no answers."
    told = f"It {_words(experiment.state)}"
    if experiment.total_steps:
        told += f", {experiment.step:,} of {experiment.total_steps:,} questions answered"
    reason = f": {experiment.reason}" if experiment.reason else "."
    return told + reason


def _words(state: State) -> str:
    return ENDED_AS.get(state, f"is {state}")


def _part(document: Mapping[str, Any]) -> Part:
    return Part(
        questions=int(document["questions"]),
        counts={outcome: int(count) for outcome, count in document["counts"].items()},
        figures={name: _figure(one) for name, one in document["figures"].items()},
    )


def _figure(document: Mapping[str, Any] | None) -> Figure | None:
    if document is None:
        return None
    return Figure(*(float(document[key]) for key in ("value", "low", "high")))


def _heard(experiment: Experiment, ending: str, names: tuple[str, ...]) -> Part | None:
    last = experiment.last
    figures = {name: Figure(last[name + ending]) for name in names if math.isfinite(last.get(name + ending, math.nan))}
    if "correct" not in figures:
        return None
    # How many questions a group has is not logged.
    return Part(experiment.step if not ending else 0, {}, {**figures})
