"""The last value of every metric of runs, and what it is to the baseline: difference, percent, better or worse.

Better and worse are only said between runs of one kind, and of metrics whose direction is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from textual.content import Content

from engine.report.comparing.against import Against, against, percent_text, signed
from engine.telemetry.charts import panels
from engine.telemetry.directions import direction_of
from engine.telemetry.metrics import METRICS, unit_of
from engine.telemetry.numbers import exact, short
from tui.canvas.charset import ASCII, current
from tui.comparison.reading import ComparedRun
from tui.comparison.table import QUIET, Table
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.widgets.row_table import Cell, Column, Row

_NOTHING = "–"
_SIGNS = {"better": ("▲", "+"), "worse": ("▼", "-"), "same": ("=", "=")}
_INKS = {"better": "better", "worse": "worse", "same": "quiet", "": "text"}
_SHORT_UNITS = {"1": "", "tokens/s": "tok/s", "samples/s": "smp/s", "nats/sequence": "nats/seq", "nats/token": "nats"}
_WIDE, _MIDDLE = 30, 19  # cells that a run has for difference, percent and verdict; for percent and verdict


def final_table(runs: Sequence[ComparedRun], width: int, first: int = 0) -> Table:
    """Return the last values. width: cells. first: where room is short, the run after the baseline that stays."""
    names = metric_names(runs)
    room = (width - 34) // max(1, len(runs) - 1)
    level = 2 if room >= _WIDE else 1 if room >= _MIDDLE else 0
    better = worse = 0
    rows: dict[str, Row] = {}
    for name in names:
        rows[name] = _row(runs, name, level)
        for run in runs[1:]:
            verdict = _verdict(runs, run, name)
            better, worse = better + (verdict == "better"), worse + (verdict == "worse")
    return Table(
        columns=_columns(runs, level, first),
        rows=rows,
        told=lambda name: _told(runs, name),
        note=f"{len(names)} metrics: {better} better, {worse} worse than A" if runs else "",
        empty="Nothing was measured yet.",
        document={name: [run.experiment.last.get(name) for run in runs] for name in names},
    )


def metric_names(runs: Sequence[ComparedRun]) -> list[str]:
    """Return all metrics, in the order of the kind of the first run; those that several runs have first."""
    if not runs:
        return []
    names = dict.fromkeys(name for run in runs for name in run.experiment.last)
    ordered = [name for panel in panels(runs[0].experiment.kind, names) for name in panel]
    return sorted(ordered, key=lambda name: sum(name in run.experiment.last for run in runs) < 2)


def sign_of(verdict: str) -> str:
    """Return the glyph of a verdict."""
    return _SIGNS[verdict][current() is ASCII] if verdict else ""


def _columns(runs: Sequence[ComparedRun], level: int, first: int) -> list[Column]:
    columns = [Column("metric", "metric", 0, least=14), Column("unit", "unit", 90, needed=False)]
    others = max(1, len(runs) - 1)
    for run in runs:
        if run.place == 0:
            columns.append(Column("A", _title(run), 1, right=True))
            continue
        rank = 10 * (1 + (run.place - 1 - first) % others)
        columns.append(Column(run.letter, _title(run), rank, right=True))
        if level == 2:
            title = "Δ" if current() is not ASCII else "diff"
            columns.append(Column(f"{run.letter} difference", title, rank + 3, right=True))
        if level >= 1:
            columns.append(Column(f"{run.letter} percent", "%", rank + 2, right=True))
            columns.append(Column(f"{run.letter} verdict", "", rank + 1, needed=False))
    return columns


def _title(run: ComparedRun) -> str:
    return f"{run.letter} {current().markers[run.place]}"


def _row(runs: Sequence[ComparedRun], name: str, level: int) -> Row:
    unit = unit_of(name) or ""
    row = {"metric": Cell(visible(name), "strong"), "unit": Cell(_SHORT_UNITS.get(unit, unit), "quiet")}
    for run in runs:
        value = run.experiment.last.get(name)
        held = _against(runs, run, name)
        verdict = held.verdict if held else ""
        text = _NOTHING if value is None else short(value)
        ink = "quiet" if value is None else "text" if math.isfinite(value) else "error"
        if not level and run.place:
            text, ink = f"{text} {sign_of(verdict) or ' '}", _INKS[verdict] if verdict else ink
        row[run.letter] = Cell(text, ink)
        row[f"{run.letter} difference"] = Cell(signed(held.difference) if held else "", "text")
        row[f"{run.letter} percent"] = Cell(percent_text(held.percent) if held else "", "text")
        row[f"{run.letter} verdict"] = Cell(f"{sign_of(verdict)} {verdict}".strip(), _INKS[verdict])
    return row


def _against(runs: Sequence[ComparedRun], run: ComparedRun, name: str) -> Against | None:
    value, baseline = run.experiment.last.get(name), runs[0].experiment.last.get(name)
    if run.place == 0 or value is None or baseline is None:
        return None
    held = against(name, value, baseline)
    # the loss of one kind of run is not that of another
    alike = run.experiment.kind == runs[0].experiment.kind
    return held if held is None or alike or held.verdict == "same" else replace(held, verdict="")


def _verdict(runs: Sequence[ComparedRun], run: ComparedRun, name: str) -> str:
    held = _against(runs, run, name)
    return held.verdict if held else ""


def _told(runs: Sequence[ComparedRun], name: str) -> list[Line]:
    base, at, rank = name.partition("/")[0].partition("@")
    metric = METRICS.get(f"{base}@k" if at and rank.isdecimal() else name.partition("/")[0])
    meaning = f"  {metric.meaning}" if metric else ""
    wanted = {1: ", more is better", -1: ", less is better", 0: ""}[direction_of(name)]
    unit = f", {metric.unit}" if metric and metric.unit != "1" else ""
    lines: list[Line] = [(2, Content.assemble((visible(name), "bold"), (meaning + wanted + unit, QUIET)))]
    for run in runs:
        value, held = run.experiment.last.get(name), _against(runs, run, name)
        label = f"{run.letter} {run.id}  "
        words = [_NOTHING if value is None else exact(value)]
        if held:
            words += [signed(held.difference), f"({percent_text(held.percent)})" if held.percent is not None else ""]
            words.append(f"{sign_of(held.verdict)} {held.verdict}" if held.verdict else "")
        lines.append((len(label), Content.assemble((label, QUIET), " ".join(word for word in words if word))))
    return lines
