"""What a report says of each experiment: its spec, what it came from, how it ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.report.curves import charts, finite
from engine.report.records import Attempt, Found, Incident, Made, Run, SpecKey, Taken
from engine.report.selection import Selection
from engine.spec.canonical import flatten
from engine.spec.resolve import paths_by_key
from engine.store import attempts, events, experiments, facts
from engine.store.inputs import inputs_of, users_of
from engine.store.text import storable_document
from engine.telemetry.records import Level

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.experiment import Experiment

_MOST_INCIDENTS = 12
_TOLD = frozenset({"health", "rolled_back"})  # events that count whatever their level
_NOT_COMPARED = frozenset({"kind", "name", "note"})


def runs(store: Store, selection: Selection, found: Found, *, only: Sequence[str] | None = None) -> list[Run]:
    """Return what is to be said of the experiments of a selection, in its order. only: of these; null for all."""
    ids, specs = selection.experiments, selection.specs
    known = {identity: experiments.get(store, identity) for identity in ids}
    against = {identity: _held_against(known, identity, selection.parents[identity]) for identity in ids}
    return [
        _run(store, known[identity], specs[identity], _Held(other, specs[other]) if other is not None else None, found)
        for identity, other in against.items()
        if only is None or identity in only
    ]


@dataclass(frozen=True, slots=True)
class _Held:
    """Another experiment, whose spec one is held against."""

    identity: str
    spec: AnySpec


def _run(store: Store, one: Experiment, spec: AnySpec, against: _Held | None, found: Found) -> Run:
    identity = one.id
    tried = attempts.list_attempts(store, identity)
    happened = events.list_events(store, identity)
    told = [event for event in happened if event.level in (Level.WARNING, Level.ERROR) or event.event in _TOLD]
    resumed = [(each.resumed_step or 0, "restart") for each in tried[1:] if each.started_at is not None]
    rolled = [(event.step, "rollback") for event in happened if event.event == "rolled_back" and event.step is not None]
    keys = paths_by_key(spec)
    return Run(
        id=one.id,
        name=one.name,
        kind=one.kind,
        state=one.state,
        reason=one.reason,
        note=one.note,
        step=one.step,
        total_steps=one.total_steps,
        created_at=one.created_at,
        started_at=one.started_at,
        ended_at=one.ended_at,
        hostfile=one.hostfile,
        spec_hash=one.spec_hash,
        spec=experiments.spec_text(store, identity),
        against=against.identity if against is not None else None,
        keys=_keys(spec, against.spec if against is not None else None),
        taken=tuple(
            Taken(
                keys=tuple(key for key, path in keys.items() if path == taken.input.path),
                parent=taken.input.parent_id,
                name=taken.parent_name,
                kind=taken.input.kind,
                step=taken.input.step,
                sha256=taken.input.sha256,
            )
            for taken in inputs_of(store, identity)
        ),
        made=tuple(Made(each.kind, each.step, each.sha256) for each in facts.artifacts(store, identity)),
        used_by=tuple(users_of(store, identity)),
        attempts=tuple(_attempt(each) for each in tried),
        incidents=tuple(Incident(each.time, each.step, each.level, each.message) for each in told[-_MOST_INCIDENTS:]),
        incidents_left_out=max(0, len(told) - _MOST_INCIDENTS),
        software=_software(one, found.provenance.get(identity)),
        last=finite(one.last),
        marks=(*resumed, *rolled),
        charts=charts(store, identity, one.kind),
    )


def _held_against(known: Mapping[str, Experiment], identity: str, parents: Sequence[str]) -> str | None:
    """Return whose spec tells most beside this one: that it was cloned from, the one before of its kind, its parent."""
    one = known[identity]
    if one.parent_id in known:
        return one.parent_id
    before = [other for other in known if known[other].kind == one.kind]
    place = before.index(identity)
    if place:
        return before[place - 1]
    return next((parent for parent in parents if known[parent].kind in ("sft", "ppo")), None)


def _keys(spec: AnySpec, other: AnySpec | None) -> tuple[SpecKey, ...]:
    """Return the keys that are not at their default, or that both specs have and not alike."""
    own, theirs = flatten(spec), flatten(other) if other is not None else {}
    set_here = _dotted(spec.model_dump(mode="json", exclude_defaults=True))
    alike = other is not None and other.kind == spec.kind
    found = []
    for key, value in own.items():
        differs = other is not None and value != theirs.get(key) and (alike or key in theirs)
        if key not in _NOT_COMPARED and (differs or key in set_here):
            found.append(SpecKey(key, value, theirs.get(key), differs))
    return tuple(found)


def _dotted(document: Mapping[str, Any], before: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in document.items():
        found |= _dotted(value, f"{before}{key}.") if isinstance(value, dict) else {before + key}
    return found


def _attempt(one: attempts.Attempt) -> Attempt:
    return Attempt(
        number=one.number,
        state=one.state,
        resumed_step=one.resumed_step,
        started_at=one.started_at,
        ended_at=one.ended_at,
        nodes=tuple(str(seat.get("host")) for seat in one.placement),
        slots=sum(int(seat.get("slots") or 0) for seat in one.placement),
        reason=one.reason,
    )


def _software(one: Experiment, provenance: Mapping[str, Any] | None) -> dict[str, str]:
    """Return what ran it, from the provenance of what it made; else the snapshot of our code alone."""
    told: dict[str, str] = {}
    document = storable_document(dict(provenance)) if provenance is not None else {}
    code, libraries = document.get("code"), document.get("libraries")
    if isinstance(code, dict):
        if code.get("plumbline"):
            told["plumbline"] = str(code["plumbline"])
        if code.get("commit"):
            told["commit"] = str(code["commit"]) + (" (changed since)" if code.get("changed") else "")
    if one.code is not None:
        told["code"] = one.code
    if document.get("python"):
        told["python"] = str(document["python"])
    if isinstance(libraries, dict):
        told |= {str(name): str(version) for name, version in libraries.items() if version}
    return told
