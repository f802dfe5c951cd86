"""What is read for a comparison at one moment, by the tab that is shown."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.report.comparing.saying import Script, of_answers, of_samples
from tui.comparison.answers import Answers, AnswersReader
from tui.comparison.reading import ComparedRun, ComparisonReader
from tui.run.curves import Curves
from tui.run.tracks import Look

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment


@dataclass(frozen=True, slots=True)
class Compared:
    """The runs, and what only some tabs need: null where it was not read."""

    runs: Sequence[ComparedRun] = ()
    scripts: Sequence[Script] | None = None
    answers: Answers | None = None
    live: Sequence[Experiment] = ()  # all experiments that have not ended

    def without_curves(self) -> Compared:
        """Return the same without points: what is shown later again must not keep old ones in memory till then."""
        return replace(self, runs=[replace(run, curves=Curves({})) for run in self.runs])


class ComparedReader:
    """Reads again and again what is new of the chosen runs. For one thread at a time."""

    def __init__(self, store: Store, ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        self._store = store
        self._runs = ComparisonReader(store, ids)
        self._answers = AnswersReader(store)

    def read(self, tab: str, wanted: Collection[str], other: str | None, look: Look | None = None) -> Compared:
        """Return what a tab needs.

        Args:
            tab: its name.
            wanted: metrics whose points are needed.
            other: id of the run that is held against the baseline.
            look: what its charts show of their x axis; null: all.
        """
        from engine.store import experiments

        runs = self._runs.read(wanted, look, samples=tab == "samples")
        return Compared(
            runs=runs,
            scripts=self._scripts(runs) if tab == "samples" else None,
            answers=self._answers.read(runs, other) if tab == "answers" else None,
            live=experiments.unfinished(self._store),
        )

    def _scripts(self, runs: Sequence[ComparedRun]) -> list[Script]:
        """Return what each run wrote: of an evaluation whose files are here all its answers."""
        rows = self._answers.rows(runs)
        return [
            of_answers(rows[run.id], run.experiment.step) if run.id in rows else of_samples(run.samples) for run in runs
        ]
