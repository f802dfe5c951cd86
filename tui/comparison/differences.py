"""The specs of runs side by side: a row a key, those that differ first or alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from textual.content import Content

from engine.telemetry.numbers import short
from tui.comparison.reading import ComparedRun
from tui.comparison.table import QUIET, Table
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.widgets.row_table import Cell, Column, Row

_FOR_PEOPLE = ("name", "note")  # stand at the runs themselves
_LEAST_VALUE, _LEAST_KEY = 9, 20  # cells
_NOTHING = "–"
_LONGEST = 18  # cells of a path that stands as it is
_MARKS = {True: "≠", False: " "}


def spec_table(runs: Sequence[ComparedRun], *, everything: bool, first: int = 0) -> Table:
    """Return the specs.

    Args:
        runs: the baseline first.
        everything: also the keys that are equal, after those that differ.
        first: where room is short, the run after the baseline that stays longest.
    """
    told = [run for run in runs if run.spec is not None]
    values = {
        key: [None if run.spec is None else run.spec.get(key) for run in runs]
        for key in dict.fromkeys(key for run in told for key in run.spec or ())
        if key not in _FOR_PEOPLE
    }
    differing = [key for key, own in values.items() if any(value != own[0] for value in own)]
    differing.sort(key=lambda key: sum(run.spec is None or key not in run.spec for run in runs))
    same = [key for key in values if key not in set(differing)]
    shown = [*differing, *same] if everything else differing
    note = f"{len(differing)} of {len(values)} keys differ"
    lost = [run.id for run in runs if run.spec is None]
    return Table(
        columns=_columns(runs, first),
        rows={key: _row(runs, key, values[key]) for key in shown},
        told=lambda key: _told(runs, key, values[key]),
        note=note + (f", {' '.join(lost)}: of another version, cannot be read" if lost else ""),
        empty="The specs are equal: = shows their keys." if values else "No spec can be read.",
        document={key: values[key] for key in shown},
    )


def _columns(runs: Sequence[ComparedRun], first: int) -> list[Column]:
    others = max(1, len(runs) - 1)
    ranks = [0 if run.place == 0 else 1 + (run.place - 1 - first) % others for run in runs]
    columns = [Column("differs", "", 1, least=1), Column("key", "key", 0, least=_LEAST_KEY)]
    columns += [
        Column(run.letter, f"{run.letter} {run.id}", 2 + rank, least=_LEAST_VALUE)
        for run, rank in zip(runs, ranks, strict=True)
    ]
    return columns


def _row(runs: Sequence[ComparedRun], key: str, values: Sequence[Any]) -> Row:
    differs = any(value != values[0] for value in values)
    row = {
        "differs": Cell(_MARKS[differs], "warning"),
        "key": Cell(visible(key), "strong" if differs else "quiet"),
    }
    for run, value in zip(runs, values, strict=True):
        ink = "quiet" if not differs else "text" if run.place == 0 else "warning" if value != values[0] else "quiet"
        row[run.letter] = Cell(_shortened(value_text(value)), ink)
    return row


def _shortened(text: str) -> str:
    """Return of a long path what tells most: its end."""
    parts = text.split("/")
    if len(text) <= _LONGEST or len(parts) < 3:
        return text
    end = "/".join(parts[-2:])
    return f"…/{end}" if len(end) <= _LONGEST else parts[-1]


def value_text(value: Any) -> str:
    """Return a value of a spec in one line."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return short(value, 6)
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _told(runs: Sequence[ComparedRun], key: str, values: Sequence[Any]) -> list[Line]:
    lines: list[Line] = [(2, Content.assemble((visible(key), "bold"), (_meaning(runs, key), QUIET)))]
    for run, value in zip(runs, values, strict=True):
        label = f"{run.letter} {run.id}  "
        lines.append((len(label), Content.assemble((label, QUIET), value_text(value))))
    return lines


def _meaning(runs: Sequence[ComparedRun], key: str) -> str:
    """Return what the key is for, as the spec's types say."""
    from engine.spec.keys import key_at
    from engine.spec.models import SPEC_TYPES

    types = {str(kind): section for kind, section in SPEC_TYPES.items()}
    for run in runs:
        found = key_at(types[run.experiment.kind], key.split(".")) if run.experiment.kind in types else None
        if found is not None:
            return f"  {found.description}"
    return ""
