"""Evaluations in a comparison: those that are compared, each with its letter, or those of the models that are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.report.changes import changes
from engine.report.evaluations import Known, known
from engine.report.files import evaluation_here
from engine.report.records import Found, Headline, Measured, Questions, Stage
from engine.spec.models import EvalSpec

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.experiment import Experiment

KIND = "eval"
_EXAMPLES = 6  # of each kind of change


def found_here(store: Store, ids: Sequence[str]) -> Found:
    """Return the results of evaluations that are on this machine."""
    here = {identity: folder for identity in ids if (folder := evaluation_here(store, identity)) is not None}
    return Found(here, {}, ())


def lettered(told: Sequence[tuple[str, Known]]) -> Headline:
    """Return evaluations as the headline of a report, a stage each. told: each with its letter, in their order."""
    measured = tuple(
        Measured(
            evaluation=one.experiment.id,
            stage=place,
            setting=0,
            label=f"{letter} {one.experiment.id}",
            state=one.experiment.state,
            note=one.note,
            part=one.part,
            groups=one.groups,
            retrieval=one.retrieval,
            causes=one.causes,
            calibration=one.calibration,
        )
        for place, (letter, one) in enumerate(told)
    )
    spec = told[0][1].spec
    return Headline(
        questions=Questions(spec.questions.rpartition("/")[2], spec.split or None, spec.limit, spec.format),
        stages=tuple(
            Stage(one.label, each.experiment.name, None) for one, (_, each) in zip(measured, told, strict=True)
        ),
        settings=("",),
        measured=measured,
        chain=(),
        left_out=(),
        changes=(),
    )


def compared(told: Sequence[tuple[str, Known]]) -> Headline:
    """Return the headline of evaluations with what changed from the first one to each of the others."""
    headline = lettered(told)
    by_id = {one.experiment.id: one for _, one in told}
    first, *others = headline.measured
    found = []
    for other in others:
        two = replace(headline, measured=(first, other), chain=(first.evaluation, other.evaluation))
        found += changes(two, by_id, {}, _EXAMPLES)[:1]
    return replace(headline, changes=tuple(found))


def evaluations_of(
    runs: Sequence[tuple[str, Experiment]], specs: Mapping[str, AnySpec], folders: Mapping[str, Path]
) -> list[tuple[str, Known]]:
    """Return those experiments that are evaluations, each with its letter. runs: all of them, with theirs."""
    found = []
    for letter, one in runs:
        spec = specs[one.id]
        if isinstance(spec, EvalSpec):
            found.append((letter, known(one, spec, folders.get(one.id))))
    return found
