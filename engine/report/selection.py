"""Which experiments a report is about: those that are named, what they were made from, and who measured them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import InvalidInput
from engine.spec.canonical import flatten
from engine.spec.references import parse, references_of
from engine.spec.resolve import is_reference
from engine.store import experiments, pipelines
from engine.store.inputs import inputs_of
from engine.store.spec_values import spec_values

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store

_KIND_OF_MEASUREMENT = "eval"


@dataclass(frozen=True, slots=True)
class Selection:
    """The experiments of a report, parents first."""

    title: str
    experiments: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]  # ids of those that each takes from, of these experiments
    specs: Mapping[str, AnySpec]


def chosen(store: Store, references: Sequence[str]) -> Selection:
    """Return the experiments that references mean, and those that belong to them.

    With them come all that they take from, and that these take from; where none of the named ones is an evaluation,
    also the evaluations of their models and of what these started from, the newest of each name.

    Arguments:
        references: experiments, or pipelines: of one all its stages are named.

    Raises:
        NotFound, InvalidInput: if a reference means none, or several.
    """
    named: dict[str, None] = {}
    for reference in references:
        named |= dict.fromkeys(pipelines.meant(store, reference))
    known = {one.id: one for one in experiments.list_experiments(store, archived=True)}
    origins = _Origins(store, [one.id for one in known.values() if one.kind == _KIND_OF_MEASUREMENT])
    found = dict.fromkeys(_with_parents(origins, named, known))
    if all(known[identity].kind != _KIND_OF_MEASUREMENT for identity in named):
        started = {origins.model(identity) for identity in found}
        newest: dict[str, str] = {}
        for one in sorted(known.values(), key=lambda one: (one.created_at, one.id)):
            if one.kind == _KIND_OF_MEASUREMENT and one.archived_at is None:
                # One of another version may have a spec that can no longer be read; it is not asked for.
                with suppress(InvalidInput):
                    made_by, path = origins.asked(one.id)
                    if made_by in found or (made_by is None and path in started):
                        origins.spec(one.id)
                        newest[one.name] = one.id
        found |= dict.fromkeys(_with_parents(origins, newest.values(), known))
    parents = {identity: tuple(each for each in origins.parents(identity) if each in found) for identity in found}
    ordered = sorted(found, key=lambda identity: (known[identity].created_at, identity))
    shown = tuple(_parents_first(ordered, parents))
    return Selection(_title(references), shown, parents, {identity: origins.spec(identity) for identity in shown})


class _Origins:
    """Where experiments come from; each is read once, and no spec of which the values tell enough."""

    def __init__(self, store: Store, measurements: Sequence[str]) -> None:
        """measurements: all evaluations, of which there may be many."""
        self._store = store
        self._values = spec_values(store, measurements)
        self._specs: dict[str, AnySpec] = {}
        self._taken: dict[str, Mapping[str, str]] = {}

    def spec(self, identity: str) -> AnySpec:
        """Return the spec of an experiment. Raises InvalidInput if this version cannot read it."""
        if identity not in self._specs:
            self._specs[identity] = experiments.get_spec(self._store, identity)
        return self._specs[identity]

    def parents(self, identity: str) -> list[str]:
        """Return whom an experiment takes from; one that waits for them names them in its references."""
        awaited = [reference.name for reference in references_of(self.spec(identity)).values()]
        return list(dict.fromkeys([*self._made_by(identity).values(), *awaited]))

    def model(self, identity: str) -> object:
        """Return the path of the model that an experiment starts from or asks; null if it starts from nothing."""
        return flatten(self.spec(identity)).get("model.path")

    def asked(self, identity: str) -> tuple[str | None, object]:
        """Return who made the model that an evaluation asks, if an experiment did, and its path."""
        values = self._values.get(identity)
        path = values.get("model.path") if values else self.model(identity)
        if isinstance(path, str) and is_reference(path):
            return parse(path, identity).name, path
        return self._made_by(identity).get(str(path)), path

    def _made_by(self, identity: str) -> Mapping[str, str]:
        if identity not in self._taken:
            taken = inputs_of(self._store, identity)
            self._taken[identity] = {one.input.path: one.input.parent_id for one in taken}
        return self._taken[identity]


def _title(references: Sequence[str]) -> str:
    shown = list(dict.fromkeys(references))
    return ", ".join(shown[:3]) + (f" and {len(shown) - 3} more" if len(shown) > 3 else "")


def _with_parents(origins: _Origins, ids: Iterable[str], known: Mapping[str, object]) -> Iterator[str]:
    waiting, seen = list(ids), set[str]()
    while waiting:
        identity = waiting.pop()
        if identity in seen or identity not in known:
            continue
        seen.add(identity)
        yield identity
        waiting += origins.parents(identity)


def _parents_first(ordered: Sequence[str], parents: Mapping[str, Sequence[str]]) -> Iterator[str]:
    placed = set[str]()

    def place(identity: str, above: frozenset[str]) -> Iterator[str]:
        if identity in placed or identity in above:
            return
        for parent in sorted(parents[identity]):
            yield from place(parent, above | {identity})
        if identity not in placed:
            placed.add(identity)
            yield identity

    for identity in ordered:
        yield from place(identity, frozenset())
