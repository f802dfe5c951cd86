"""What stands in the columns of the run list, and which columns a width has room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from engine.store.filtering.keys import LAST, SPEC
from engine.telemetry.metrics import HEADLINE
from engine.telemetry.numbers import duration, short, since
from tui.canvas.charset import ASCII, current
from tui.canvas.spark import sparkline
from tui.text.cells import align
from tui.text.safe import visible
from tui.theme import glyph

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

GAP = 2  # cells between columns
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Column:
    """One column; where room is short, the ones with the highest `rank` go first."""

    key: str
    title: str
    width: int  # cells; of `name` and `tags`: the least, they share what is left
    rank: int
    right: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text and the name of its ink (a component class of the table)."""

    text: str
    ink: str = "text"


Row = dict[str, Cell]

COLUMNS = (
    Column("id", "id", 8, 0),
    Column("name", "name", 10, 2),
    Column("kind", "kind", 4, 10),
    Column("state", "state", 11, 1),
    Column("step", "step", 9, 3, right=True),
    Column("bar", "", 8, 9),
    Column("progress", "done", 4, 7, right=True),
    Column("headline", "latest", 6, 4, right=True),
    Column("curve", "recent", 8, 5),
    Column("speed", "tok/s", 6, 8, right=True),
    Column("age", "age", 6, 6, right=True),
    Column("tags", "tags", 8, 11),
)
FURTHER = (  # only where they are asked for
    Column("took", "took", 6, 12, right=True),
    Column("nodes", "nodes", 5, 13, right=True),
    Column("parent", "parent", 8, 14),
    Column("note", "note", 12, 15),
)
_NAMED = {column.key: column for column in (*COLUMNS, *FURTHER)}
_WIDEST = {"id": 12, "step": 15, "headline": 8, "took": 8, "parent": 12}  # cells; as wide as their widest cell
_READABLE = 20  # cells of a name
_LESS_THAN_NAMES = 7  # rank
_WIDEST_OTHER, _LEAST_OTHER = 14, 5  # of metrics and values of specs
_STRETCH = (("name", 32), ("curve", 16), ("tags", 40), ("note", 60))  # share what is left, at most so many cells


def column_of(key: str, rank: int) -> Column:
    """Return the column of a key: a usual one, a metric (`last.NAME`) or a value of the spec (`spec.KEY`)."""
    known = _NAMED.get(key)
    if known is not None:
        return replace(known, rank=rank)
    title = key.removeprefix(LAST) if key.startswith(LAST) else key.removeprefix(SPEC).rpartition(".")[2]
    return Column(key, visible(title), _LEAST_OTHER, rank, right=True)


def columns_of(keys: Sequence[str]) -> Sequence[Column]:
    """Return the columns that were chosen, in that order, the first the last to go; of no keys, the usual ones."""
    return [column_of(key, rank) for rank, key in enumerate(keys)] if keys else COLUMNS


def fit(width: int, rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> list[tuple[Column, int]]:
    """Return the columns that `width` cells have room for, each with its width, in order.

    The headline of runs of one kind has that metric's name.
    """
    least = {column.key: column.width for column in columns}
    for column in columns:
        if column.key in _WIDEST or column.key not in _NAMED:
            most = _WIDEST.get(column.key, _WIDEST_OTHER)
            own = 0 if column.key in _NAMED else cell_len(column.title)
            least[column.key] = min(most, max(column.width, own, _longest(rows, column.key, most)))
    chosen = _with_names(width, columns, least, _longest(rows, "name", _READABLE))
    while len(chosen) > 1 and sum(least[column.key] + GAP for column in chosen) - GAP > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare = width - sum(least[column.key] + GAP for column in chosen) + GAP
    for key, most in _STRETCH:
        if any(column.key == key for column in chosen):
            wanted = most if key == "curve" else max(least[key], _longest(rows, key, most))
            more = max(0, min(spare, wanted - least[key]))
            least[key] += more
            spare -= more
    told = {_headline(row["kind"].text) for row in rows}
    title = told.pop() if len(told) == 1 else "latest"
    named = [replace(column, title=title) if column.key == "headline" else column for column in chosen]
    return [(column, least[column.key]) for column in named]


def _with_names(width: int, columns: Sequence[Column], least: Mapping[str, int], name: int) -> list[Column]:
    """Return the columns without those that are less use than names that can be read. name: cells of the longest."""
    chosen = list(columns)
    wide = {**least, "name": max(least.get("name", 0), name)}
    while sum(wide[column.key] + GAP for column in chosen) - GAP > width:
        last = max(chosen, key=lambda column: column.rank)
        if last.rank < _LESS_THAN_NAMES or last.key == "name":
            break
        chosen.remove(last)
    return chosen


_SORTS = {"progress": "done", "bar": "done", "headline": "latest", "age": "heard"}
_MANY = 100_000  # steps
_SORTED = ("id", "name", "kind", "state", "step", "took")


def sort_of(column: str) -> str | None:
    """Return the key that a list is sorted by for a column (see `engine.store.ordering`); null where there is none."""
    if column in _SORTED or column.startswith((LAST, SPEC)):
        return column
    return _SORTS.get(column)


def titled(column: Column, size: int, sort: str) -> str:
    """Return the title of a column in `size` cells, with an arrow when the list is sorted by it, if there is room."""
    key = sort.removeprefix("-")
    title = column.title
    if title and key == sort_of(column.key) and cell_len(title) < size:
        arrows = "v^" if current() is ASCII else "↓↑"
        title += arrows[0] if sort.startswith("-") else arrows[1]
    return align(title, size, right=column.right)


def _headline(kind: str) -> str:
    return HEADLINE.get(kind, "loss")


def _longest(rows: Sequence[Row], key: str, most: int) -> int:
    return min(most, max((cell_len(row[key].text) for row in rows if key in row), default=0))


def curve(tail: Sequence[float], columns: Sequence[tuple[Column, int]]) -> Cell:
    """Return the sparkline in the width that these columns give it."""
    width = next((size for column, size in columns if column.key == "curve"), 0)
    return Cell(sparkline(tail, width), "curve")


def row(experiment: Experiment, now: float, further: Sequence[str] = (), values: Mapping[str, Any] = _NOTHING) -> Row:
    """Return what the list shows of an experiment, but for its curve.

    Args:
        experiment: as it stands.
        now: seconds since the epoch.
        further: keys of columns beside the usual ones.
        values: of its spec, by dotted key, as far as columns show some.
    """
    charset = current()
    state = experiment.state
    total, progress = experiment.total_steps, experiment.progress
    value = experiment.last.get(_headline(experiment.kind))
    speed = experiment.last.get("tokens_per_second") if state.value == "running" else None
    filled = round(8 * min(1.0, progress)) if progress is not None else 0
    cells = {
        "id": Cell(experiment.id, "id"),
        "name": Cell(visible(experiment.name)),
        "kind": Cell(experiment.kind, "quiet"),
        "state": Cell(f"{glyph(state)} {state.value}", f"state-{state.value}"),
        "step": Cell(_steps(experiment.step, total)),
        "bar": Cell(charset.bar[0] * filled + charset.bar[1] * (8 - filled) if progress is not None else "", "bar"),
        "progress": Cell(f"{math.floor(100 * progress)}%" if progress is not None else "–", "quiet"),
        "headline": _measured(value),
        "curve": Cell("", "curve"),  # drawn when its width is known
        "speed": Cell(short(speed) if speed is not None else "–", "quiet"),
        "age": Cell(age(experiment, now), "quiet"),
        "tags": Cell(" ".join(visible(tag) for tag in experiment.tags), "quiet"),
    }
    for key in further:
        if key not in cells:
            cells[key] = _further(experiment, key, now, values)
    return cells


def _steps(step: int, total: int | None) -> str:
    """Return how far it is; of very many, such as chunks of an index, in short."""
    if not total:
        return str(step) if step else "–"
    return f"{short(step)}/{short(total)}" if total >= _MANY else f"{step}/{total}"


def _measured(value: float | None) -> Cell:
    if value is None:
        return Cell("–", "value")
    return Cell(short(value), "value" if math.isfinite(value) else "bad")


def _further(experiment: Experiment, key: str, now: float, values: Mapping[str, Any]) -> Cell:
    if key.startswith(LAST):
        return _measured(experiment.last.get(key.removeprefix(LAST)))
    if key.startswith(SPEC):
        return Cell(_written(values.get(key.removeprefix(SPEC))))
    if key == "took":
        started = experiment.started_at
        return Cell("–" if started is None else duration((experiment.ended_at or now) - started), "quiet")
    if key == "nodes":
        return Cell(str(experiment.nodes or "–"), "quiet")
    if key == "parent":
        return Cell(experiment.parent_id or "–", "quiet")
    return Cell(visible(" ".join((experiment.note or "").split())), "quiet") if key == "note" else Cell("–", "quiet")


def _written(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, list):
        return " ".join(visible(str(item)) for item in value)
    return short(value) if isinstance(value, float) else visible(str(value))


def age(experiment: Experiment, now: float) -> str:
    """Return how long ago the newest thing is that is known of it: its end, its last sign of life, its creation."""
    return since(now - (experiment.ended_at or experiment.heard_at or experiment.created_at))
