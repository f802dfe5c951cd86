"""From the database to a page of one experiment, or of several side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.errors import InvalidInput, NotFound
from engine.report.comparing.answers import prompted, script
from engine.report.comparing.evaluated import KIND, compared, evaluations_of, found_here
from engine.report.comparing.records import LETTERS, Comparison, Side, SpecRow
from engine.report.report import build as report_of
from engine.report.runs import runs
from engine.report.selection import Selection, chosen
from engine.spec.canonical import flatten
from engine.store import experiments, verdicts

if TYPE_CHECKING:
    from engine.report.records import Headline
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.experiment import Experiment

MOST_PROMPTS = 16  # that are shown
_FOR_PEOPLE = frozenset({"name", "note"})  # stand at the experiments themselves


def build(store: Store, ids: Sequence[str]) -> Comparison:
    """Return what is known of experiments: the same for the same database and files of this machine.

    Arguments:
        ids: the baseline first; one to eight, each once.

    Raises:
        InvalidInput: if there are none, too many, or one whose spec this version cannot read.
        NotFound: if one of them is not there.
    """
    if not 0 < len(ids) <= len(LETTERS) or len({*ids}) < len(ids):
        raise InvalidInput(f"A page holds 1 to {len(LETTERS)} different experiments, and not {len(ids)}.")
    known = [experiments.get(store, identity) for identity in ids]
    parents = {one.id: one.parent_id for one in known}
    specs = {identity: experiments.get_spec(store, identity) for identity in (*ids, *_others(store, known))}
    selection = Selection("", tuple(specs), dict.fromkeys(specs, ()), specs)
    heard = [at for one in known for at in (one.created_at, one.ended_at, one.heard_at) if at is not None]
    told = runs(store, selection, found_here(store, ids), only=ids)
    flat = [flatten(specs[identity]) for identity in ids]
    keys = [key for key in dict.fromkeys(key for one in flat for key in one) if key not in _FOR_PEOPLE]
    rows = [SpecRow(key, tuple(one.get(key) for one in flat)) for key in keys]
    headlines, notes = _evaluations(store, known, specs)
    asked = prompted([script(store, one) for one in known])
    return Comparison(
        sides=tuple(
            Side(
                place=place,
                run=run,
                parent=parents[run.id],
                tags=known[place].tags,
                verdicts=tuple(verdicts.read_verdicts(store, run.id, max(heard))),
                kl_target=verdicts.kl_target(specs[run.id]),
            )
            for place, run in enumerate(told)
        ),
        as_of=max(heard),
        keys=len(keys),
        differing=tuple(sorted((row for row in rows if _differs(row.values)), key=lambda row: None in row.values)),
        headlines=headlines,
        notes=notes,
        prompts=asked[:MOST_PROMPTS],
        asked=len(asked),
        regressions=sum(one.is_regression for one in asked),
    )


def _others(store: Store, known: Sequence[Experiment]) -> list[str]:
    """Return the experiments that these were cloned from, as far as they can be read: what is held against them."""
    there = {one.id for one in known}
    found: dict[str, None] = {}
    for one in known:
        if one.parent_id is not None and one.parent_id not in there:
            try:
                experiments.get_spec(store, one.parent_id)
            except (NotFound, InvalidInput):
                continue
            found[one.parent_id] = None
    return list(found)


def _differs(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values)


def _evaluations(
    store: Store, known: Sequence[Experiment], specs: Mapping[str, AnySpec]
) -> tuple[tuple[Headline, ...], tuple[str, ...]]:
    """Return the evaluations among these, or else those of their models, and a sentence on those without answers."""
    ids = [one.id for one in known]
    if any(one.kind == KIND for one in known):
        found = found_here(store, ids)
        told = evaluations_of(list(zip(LETTERS, known, strict=False)), specs, found.evaluations)
        absent = [one.experiment.id for _, one in told if one.panel is None]
        return (compared(told),), (_absent(absent),) if absent else ()
    selection = chosen(store, ids)
    if not any(spec.kind == KIND for spec in selection.specs.values()):
        return (), ()
    return report_of(store, selection, found_here(store, selection.experiments)).headlines, ()


def _absent(ids: Sequence[str]) -> str:
    return (
        f"The answers of {', '.join(ids)} are not on this machine: their figures are those that the database heard. "
        f"`engine report {' '.join(ids)} -o report.html` brings them."
    )
