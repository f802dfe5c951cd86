"""Evaluations held against each other: what each answered, and what changed from the baseline to another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tui.comparison.reading import ComparedRun

if TYPE_CHECKING:
    from engine.report.evaluations import Known
    from engine.report.records import Change, Headline
    from engine.store.database import Store

KIND = "eval"
_EXAMPLES = 6  # of each kind


@dataclass(frozen=True, slots=True)
class Answers:
    """What is known of the evaluations among the runs."""

    runs: Sequence[ComparedRun] = ()  # those that are evaluations
    headline: Headline | None = None
    change: Change | None = None  # from the first one to another
    notes: Sequence[str] = ()  # on what is missing
    rows: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)  # of answers.jsonl, by run


class AnswersReader:
    """Reads evaluations from their files, each once as long as it stays the same. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[tuple[object, ...], Known]] = {}
        self._rows: dict[str, tuple[tuple[object, ...], list[dict[str, Any]]]] = {}
        self._changes: dict[tuple[str, str, tuple[object, ...]], Change | None] = {}

    def rows(self, runs: Sequence[ComparedRun]) -> dict[str, list[dict[str, Any]]]:
        """Return all answers of those evaluations whose files are here, by id."""
        from engine.report.files import answers_here

        found = {}
        for run in runs:
            if run.experiment.kind != KIND:
                continue
            kept = self._rows.get(run.id)
            if kept is None or kept[0] != _mark(run):
                kept = self._rows[run.id] = _mark(run), answers_here(self._store, run.id)
            if kept[1]:
                found[run.id] = kept[1]
        return found

    def read(self, runs: Sequence[ComparedRun], other: str | None) -> Answers:
        """Return what is known. other: the evaluation that the first one is held against; null for the next one."""
        from engine.report.comparing.evaluated import lettered

        evaluations = [run for run in runs if run.experiment.kind == KIND]
        known = {run.id: self._of(run) for run in evaluations}
        if not known:
            return Answers()
        headline = lettered([(run.letter, known[run.id]) for run in evaluations])
        first = evaluations[0].id
        others = [run.id for run in evaluations[1:]]
        against = other if other in others else next(iter(others), None)
        change, notes = (
            None,
            [f"{run.letter} {run.id}: {known[run.id].note}" for run in evaluations if known[run.id].note],
        )
        if against is not None:
            change = self._change(headline, known, first, against, tuple(map(_mark, evaluations)))
            if change is None:
                notes.append(_missing(known, first, against))
        return Answers(evaluations, headline, change, notes)

    def _change(
        self, headline: Headline, known: Mapping[str, Known], first: str, against: str, mark: tuple[object, ...]
    ) -> Change | None:
        from dataclasses import replace

        from engine.report.changes import changes

        key = first, against, mark
        if key not in self._changes:
            by_id = {one.evaluation: one for one in headline.measured}
            two = replace(headline, measured=(by_id[first], by_id[against]), chain=(first, against))
            self._changes[key] = next(iter(changes(two, known, {}, _EXAMPLES)), None)
        return self._changes[key]

    def _of(self, run: ComparedRun) -> Known:
        from engine.report.evaluations import known
        from engine.report.files import evaluation_here
        from engine.spec.models import EvalSpec
        from engine.store import experiments

        kept = self._known.get(run.id)
        if kept is None or kept[0] != _mark(run):
            spec = experiments.get_spec(self._store, run.id)
            assert isinstance(spec, EvalSpec)
            kept = self._known[run.id] = _mark(run), known(run.experiment, spec, evaluation_here(self._store, run.id))
        return kept[1]


def _mark(run: ComparedRun) -> tuple[object, ...]:
    experiment = run.experiment
    return run.id, experiment.state, experiment.attempts, experiment.step, experiment.ended_at


def _missing(known: Mapping[str, Known], first: str, against: str) -> str:
    """Return why there is no comparison question by question."""
    absent = [identity for identity in (first, against) if known[identity].panel is None]
    told = " and ".join(absent)
    return (
        f"What changed is not known: the answers of {told} are not on this machine. "
        f"In a shell, `engine report {' '.join(absent)} -o report.html` brings them."
    )
