"""From the database, and the files that could be had, to a report; and the report as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from engine.report.changes import changes
from engine.report.evaluations import known
from engine.report.records import Found, Headline, Report
from engine.report.runs import runs
from engine.report.selection import Selection
from engine.report.stages import Models, headlines
from engine.report.wording import percent
from engine.spec.models import EvalSpec
from engine.store import experiments
from engine.store.samples import list_samples

if TYPE_CHECKING:
    from engine.store.database import Store

FORMAT = 1
EXAMPLES = 5


def build(store: Store, selection: Selection, found: Found, examples: int = EXAMPLES) -> Report:
    """Return the report on experiments: the same for the same database and files.

    Arguments:
        examples: of each kind and change, at most.
    """
    ids = selection.experiments
    known_runs = {identity: experiments.get(store, identity) for identity in ids}
    specs = selection.specs
    evaluations = {
        identity: known(known_runs[identity], spec, found.evaluations.get(identity))
        for identity, spec in specs.items()
        if isinstance(spec, EvalSpec)
    }
    samples = {identity: list_samples(store, identity) for identity in ids if known_runs[identity].kind == "ppo"}
    told = [
        replace(one, changes=tuple(changes(one, evaluations, samples, examples)))
        for one in headlines(Models(store, known_runs, specs), list(evaluations.values()))
    ]
    heard = [at for one in known_runs.values() for at in (one.created_at, one.ended_at, one.heard_at) if at is not None]
    return Report(
        title=selection.title,
        as_of=max(heard, default=None),
        summary=_summary(told),
        notes=tuple(found.problems),
        headlines=tuple(told),
        runs=tuple(runs(store, selection, found)),
    )


def to_json(report: Report) -> str:
    """Return the report as a JSON document: the numbers of all tables and curves."""
    return json.dumps({"format": FORMAT, **asdict(report)}, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _summary(told: Sequence[Headline]) -> str:
    """Return in one or two sentences what was reached, over the questions that were asked most."""
    for headline in told:
        by_id = {one.evaluation: one for one in headline.measured}
        chain = [by_id[identity] for identity in headline.chain]
        if not chain:
            continue
        first, last = chain[0], chain[-1]
        values = []
        for one in (first, last):
            assert one.part is not None
            shares = [one.part.figures.get(name) for name in ("hallucinated", "correct")]
            if None in shares:
                return ""
            values.append([share.value for share in shares if share is not None])
        asked = f"{max(one.part.questions for one in chain if one.part is not None):,} questions"
        if first is last:
            wrong, right = values[0]
            return f"Of {asked}, {first.label} answers {percent(right)} correctly and hallucinates {percent(wrong)}."
        return (
            f"From {first.label} to {last.label}, hallucinated answers went from {percent(values[0][0])} to "
            f"{percent(values[1][0])} of {asked}, correct ones from {percent(values[0][1])} to "
            f"{percent(values[1][1])}."
        )
    return "No evaluation has measured these models yet: nothing is known of what they hallucinate."
