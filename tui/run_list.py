"""How the list of runs is shown: filtered, in groups, in an order, with columns of choice. Pure: from data to lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.store.ordering import NEWEST_FIRST, ordered

if TYPE_CHECKING:
    from engine.store.experiments import Experiment
    from engine.telemetry.states import State

Specs = Mapping[str, Mapping[str, Any]]  # values of specs by dotted key, by id
_PIPELINE = "pipeline:"
_DATA = ("data.train", "corpus.path", "questions")  # keys of specs that name data


@dataclass(frozen=True, slots=True)
class View:
    """How the list is looked at; a saved one has a name."""

    filter: str = ""
    sort: str = NEWEST_FIRST  # see `engine.store.ordering`
    group: str = "none"
    columns: tuple[str, ...] = ()  # keys; empty: as many of the usual ones as fit
    name: str = ""

    def document(self) -> dict[str, Any]:
        """Return it as the database keeps it; without its name."""
        return {"filter": self.filter, "sort": self.sort, "group": self.group, "columns": list(self.columns)}

    @classmethod
    def read(cls, name: str, document: Mapping[str, Any]) -> View:
        """Return a view that was saved; what a later version wrote and this one does not know is left out."""
        group = str(document.get("group", "none"))
        return cls(
            filter=str(document.get("filter", "")),
            sort=str(document.get("sort", NEWEST_FIRST)),
            group=group if group in GROUPS else "none",
            columns=tuple(map(str, document.get("columns", ()))),
            name=name,
        )

    def changed(self, **values: Any) -> View:
        """Return it with other values; it is then no longer the one that was saved."""
        same = all(getattr(self, key) == value for key, value in values.items())
        return self if same else replace(self, name="", **values)

    @property
    def needs_specs(self) -> bool:
        """Whether the values of specs are needed to show it."""
        keys = (self.sort.removeprefix("-"), *self.columns)
        return self.group == "data" or any(key.startswith("spec.") for key in keys)


@dataclass(frozen=True, slots=True)
class Heading:
    """The line above a group."""

    key: str
    title: str
    count: int
    folded: bool
    states: tuple[tuple[State, int], ...]  # how many of each, in the order of states


def _pipeline(one: Experiment, specs: Specs) -> str:
    # Of the two tags of a launch, the one with its number is longer.
    names = [tag.removeprefix(_PIPELINE) for tag in one.tags if tag.startswith(_PIPELINE)]
    return max(names, key=len, default="no pipeline")


def _data(one: Experiment, specs: Specs) -> str:
    values = specs.get(one.id, {})
    value = next((values[key] for key in _DATA if values.get(key)), None)
    if value is None:
        return "no data named"
    paths = value if isinstance(value, list) else [value]
    return " + ".join(str(path).rstrip("/").rpartition("/")[2] for path in paths)


def _tag(one: Experiment, specs: Specs) -> str:
    return next((tag for tag in one.tags if ":" not in tag), "no tag")


GROUPS: Mapping[str, Callable[[Experiment, Specs], str]] = {
    "none": lambda one, specs: "",
    "kind": lambda one, specs: one.kind,
    "pipeline": _pipeline,
    "data": _data,
    "state": lambda one, specs: one.state.value,
    "tag": _tag,
    "parent": lambda one, specs: one.parent_id or "no parent",
}


def arranged(
    experiments: Sequence[Experiment], view: View, specs: Specs, folded: Collection[str], now: float
) -> list[Experiment | Heading]:
    """Return the lines of the list: experiments, and headings of groups in the order of their first ones.

    Raises InvalidInput when the view's order has a key that none of them has.
    """
    sorted_ones = ordered(experiments, view.sort, specs=specs, now=now)
    if view.group == "none":
        return list(sorted_ones)
    title_of = GROUPS[view.group]
    groups: dict[str, list[Experiment]] = {}
    for one in sorted_ones:
        groups.setdefault(title_of(one, specs), []).append(one)
    lines: list[Experiment | Heading] = []
    # What belongs to no group comes last.
    for title in sorted(groups, key=lambda title: title.startswith("no ")):
        members = groups[title]
        key = f"{view.group}:{title}"
        lines.append(Heading(key, title, len(members), key in folded, _states(members)))
        if key not in folded:
            lines += members
    return lines


def _states(members: Iterable[Experiment]) -> tuple[tuple[State, int], ...]:
    count = Counter(one.state for one in members)
    return tuple((state, count[state]) for state in sorted(count, key=list(type(next(iter(count)))).index))
