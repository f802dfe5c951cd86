"""What stands in the columns of the run list, and which columns a width has room for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size

from engine.telemetry.metrics import HEADLINE
from engine.telemetry.numbers import duration, short
from tui.canvas.charset import current
from tui.canvas.spark import sparkline
from tui.safe_text import visible
from tui.theme import glyph

if TYPE_CHECKING:
    from engine.store.experiments import Experiment

GAP = 2  # cells between columns
_ELLIPSIS = "…"


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
_WIDEST_NAME, _WIDEST_CURVE, _WIDEST_ID = 32, 16, 12


def fit(width: int, rows: Sequence[Row]) -> list[tuple[Column, int]]:
    """Return the columns that `width` cells have room for, each with its width, in order.

    The headline of runs of one kind has that metric's name.
    """
    least = {column.key: column.width for column in COLUMNS}
    for key, most in (("id", _WIDEST_ID), ("step", 15), ("headline", 8)):
        least[key] = min(most, max([least[key], *(cell_len(row[key].text) for row in rows)]))
    chosen = list(COLUMNS)
    while len(chosen) > 1 and sum(least[column.key] + GAP for column in chosen) - GAP > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare = width - sum(least[column.key] + GAP for column in chosen) + GAP
    for key, most in (("name", _longest(rows, "name", _WIDEST_NAME)), ("curve", _WIDEST_CURVE), ("tags", 40)):
        if any(column.key == key for column in chosen):
            more = max(0, min(spare, most - least[key]))
            least[key] += more
            spare -= more
    told = {_headline(row["kind"].text) for row in rows}
    title = told.pop() if len(told) == 1 else "latest"
    named = [replace(column, title=title) if column.key == "headline" else column for column in chosen]
    return [(column, least[column.key]) for column in named]


def _headline(kind: str) -> str:
    return HEADLINE.get(kind, "loss")


def _longest(rows: Sequence[Row], key: str, most: int) -> int:
    return min(most, max((cell_len(row[key].text) for row in rows), default=0))


def align(text: str, width: int, *, right: bool) -> str:
    """Return the text in exactly `width` cells; what does not fit ends in an ellipsis."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + _ELLIPSIS
    return " " * (width - size) + text if right else text + " " * (width - size)


def curve(tail: Sequence[float], columns: Sequence[tuple[Column, int]]) -> Cell:
    """Return the sparkline in the width that these columns give it."""
    width = next((size for column, size in columns if column.key == "curve"), 0)
    return Cell(sparkline(tail, width), "curve")


def row(experiment: Experiment, now: float) -> Row:
    """Return what the list shows of an experiment, but for its curve. now: seconds since the epoch."""
    charset = current()
    state = experiment.state
    total, progress = experiment.total_steps, experiment.progress
    value = experiment.last.get(_headline(experiment.kind))
    speed = experiment.last.get("tokens_per_second") if state.value == "running" else None
    filled = round(8 * min(1.0, progress)) if progress is not None else 0
    return {
        "id": Cell(experiment.id, "id"),
        "name": Cell(visible(experiment.name)),
        "kind": Cell(experiment.kind, "quiet"),
        "state": Cell(f"{glyph(state)} {state.value}", f"state-{state.value}"),
        "step": Cell(f"{experiment.step}/{total}" if total else str(experiment.step) if experiment.step else "–"),
        "bar": Cell(charset.bar[0] * filled + charset.bar[1] * (8 - filled) if progress is not None else "", "bar"),
        "progress": Cell(f"{math.floor(100 * progress)}%" if progress is not None else "–", "quiet"),
        "headline": Cell(
            short(value) if value is not None else "–", "value" if value is None or math.isfinite(value) else "bad"
        ),
        "curve": Cell("", "curve"),  # drawn when its width is known
        "speed": Cell(short(speed) if speed is not None else "–", "quiet"),
        "age": Cell(age(experiment, now), "quiet"),
        "tags": Cell(" ".join(visible(tag) for tag in experiment.tags), "quiet"),
    }


def age(experiment: Experiment, now: float) -> str:
    """Return how long ago the newest thing is that is known of it: its end, its last sign of life, its creation."""
    return duration(now - (experiment.ended_at or experiment.heard_at or experiment.created_at))
