"""How the list of runs is shown: filtered, in groups, in an order, with columns of choice. Pure: from data to lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from engine.store.filtering.keys import SPEC
from engine.store.ordering import NEWEST_FIRST, ordered

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from engine.telemetry.states import State

Specs = Mapping[str, Mapping[str, Any]]  # values of specs by dotted key, by id
_PIPELINE = "pipeline:"
_OWN = frozenset({"name", "note", "kind"})
_MOST_GROUPS = 12
_DATA = ("data.train", "corpus.path", "questions")  # keys of specs that name data


@dataclass(frozen=True, slots=True)
class View:
    """How the list is looked at; a saved one has a name."""

    filter: str = ""
    sort: str = NEWEST_FIRST  # see `engine.store.ordering`
    group: str = "none"  # see `title_in`
    columns: tuple[str, ...] = ()  # keys; empty: as many of the usual ones as fit
    name: str = ""
    then: str = "none"  # groups within the groups

    def document(self) -> dict[str, Any]:
        """Return it as the database keeps it; without its name."""
        groups = {"group": self.group, "then": self.then}
        return {"filter": self.filter, "sort": self.sort, **groups, "columns": list(self.columns)}

    @classmethod
    def read(cls, name: str, document: Mapping[str, Any]) -> View:
        """Return a view that was saved; what a later version wrote and this one does not know is left out."""
        group, then = (str(document.get(key, "none")) for key in ("group", "then"))
        return cls(
            filter=str(document.get("filter", "")),
            sort=str(document.get("sort", NEWEST_FIRST)),
            group=group if _is_known(group) else "none",
            columns=tuple(map(str, document.get("columns", ()))),
            name=name,
            then=then if _is_known(then) and _is_known(group) else "none",
        )

    def changed(self, **values: Any) -> View:
        """Return it with other values; it is then no longer the one that was saved."""
        same = all(getattr(self, key) == value for key, value in values.items())
        return self if same else replace(self, name="", **values)

    @property
    def needs_specs(self) -> bool:
        """Whether the values of specs are needed to show it."""
        keys = (self.sort.removeprefix("-"), *self.columns, *self.levels)
        return "data" in self.levels or any(key.startswith(SPEC) for key in keys)

    @property
    def levels(self) -> tuple[str, ...]:
        """By what it is in groups, and these in groups: none, one or two."""
        return tuple(level for level in dict.fromkeys((self.group, self.then)) if level != "none" != self.group)


@dataclass(frozen=True, slots=True)
class Heading:
    """The line above a group."""

    key: str
    title: str
    count: int
    folded: bool
    states: tuple[tuple[State, int], ...]  # how many of each, in the order of states
    level: int = 0  # 1: within another group


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


def title_in(group: str) -> Callable[[Experiment, Specs], str]:
    """Return what tells the title of a run's group. group: one of `GROUPS`, or `spec.KEY`."""
    if not group.startswith(SPEC):
        return GROUPS[group]
    from engine.report.wording import value_text

    key = group.removeprefix(SPEC)

    def title(one: Experiment, specs: Specs) -> str:
        value = specs.get(one.id, {}).get(key)
        return f"no {key}" if value is None else f"{key} {value_text(value)}"

    return title


def keys_to_group_by(specs: Specs) -> list[str]:
    """Return the keys of specs whose values make groups: more than one, and fewer than there are runs with it."""
    from engine.report.wording import value_text

    values: dict[str, Counter[str]] = {}
    for one in specs.values():
        for key, value in one.items():
            if value is not None and key not in _OWN:
                values.setdefault(key, Counter())[value_text(value)] += 1
    return [key for key, told in values.items() if 1 < len(told) <= _MOST_GROUPS and told.total() > len(told)]


def _is_known(group: str) -> bool:
    return group in GROUPS or (group.startswith(SPEC) and group != SPEC)


def arranged(
    experiments: Sequence[Experiment], view: View, specs: Specs, folded: Collection[str], now: float
) -> list[Experiment | Heading]:
    """Return the lines of the list: experiments, and headings of groups in the order of their first ones.

    Raises InvalidInput when the view's order has a key that none of them has.
    """
    return _grouped(ordered(experiments, view.sort, specs=specs, now=now), view.levels, specs, folded)


def _grouped(
    members: Sequence[Experiment], levels: Sequence[str], specs: Specs, folded: Collection[str], above: str = ""
) -> list[Experiment | Heading]:
    """Return runs with the headings of their groups. above: the key of the group that they all are in."""
    if not levels:
        return list(members)
    title_of = title_in(levels[0])
    groups: dict[str, list[Experiment]] = {}
    for one in members:
        groups.setdefault(title_of(one, specs), []).append(one)
    lines: list[Experiment | Heading] = []
    # What belongs to no group comes last.
    for title in sorted(groups, key=lambda title: title.startswith("no ")):
        own = groups[title]
        key = f"{above}{levels[0]}:{title}"
        lines.append(Heading(key, title, len(own), key in folded, _states(own), level=1 if above else 0))
        if key not in folded:
            lines += _grouped(own, levels[1:], specs, folded, f"{key}\n")
    return lines


def _states(members: Iterable[Experiment]) -> tuple[tuple[State, int], ...]:
    count = Counter(one.state for one in members)
    return tuple((state, count[state]) for state in sorted(count, key=list(type(next(iter(count)))).index))
