"""What a tab shows, as the text of a file: CSV, JSON, Markdown, or a picture of curves."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tui.comparison.answers import Answers
from tui.comparison.browsing import Browser
from tui.comparison.overlay import Overlay
from tui.comparison.reading import ComparedRun
from tui.comparison.table import Table
from tui.screens.menu import Choice

if TYPE_CHECKING:
    from engine.report.tables import Grid
    from engine.store.database import Store
    from engine.store.point_arrays import PointArrays

Rows = list[list[object]]


PAGE = "page"  # the choice that `tui.page_file` writes


def choices(tab: str, lacking: str | None, hidden: str | None = None) -> list[Choice]:
    """Return what can be written of a tab.

    Args:
        tab: its name.
        lacking: why nothing of it can be written; null if something can.
        hidden: why a page of everything cannot be.
    """
    styles = {"csv": ("CSV", "c"), "json": ("JSON", "j"), "md": ("Markdown", "m"), "svg": ("a picture", "s")}
    of = {"curves": ("csv", "json", "svg"), "reward-KL": ("csv", "json"), "answers": ("md", "json")}
    what = {"curves": "the chosen chart", "reward-KL": "score and KL"}.get(tab, tab)
    return [
        *(
            Choice(style, f"{what} as {styles[style][0]}", styles[style][1], f".{style}", refused=lacking)
            for style in of.get(tab, ("csv", "json", "md"))
        ),
        Choice(PAGE, "all tabs as a page (HTML)", "h", ".html", refused=hidden),
    ]


def of_curves(style: str, panel: Sequence[str], overlay: Overlay, title: str, store: Store) -> str:
    """Return all points of the runs in one chart, or in several, as the series METRIC of RUN."""
    from engine.report.curve_files import as_csv, as_json, as_svg
    from engine.store.point_arrays import fresh

    series: dict[str, PointArrays] = {}
    meant = [overlay.meant(name) for name in panel]
    for run in dict.fromkeys(run for _, run in meant):
        metrics = [metric for metric, one in meant if one is run]
        found = dict(fresh(store, run.id, {}, metrics))
        series |= {f"{metric} {run.letter} {run.id}": found[metric] for metric in metrics if metric in found}
    if style == "svg":
        return as_svg(list(series), series, (), title)
    return as_csv(series) if style == "csv" else as_json(series)


def of_table(style: str, table: Table, runs: Sequence[ComparedRun], name: str) -> str:
    """Return a table of values: a row a key, a column a run. name: of the keys."""
    header = [name, *(run.id for run in runs)]
    if style == "json":
        rows = {key: [_number(value) for value in values] for key, values in table.document.items()}
        return _json({"runs": [run.id for run in runs], name: rows})
    body = [[key, *("" if value is None else value for value in values)] for key, values in table.document.items()]
    return _written(style, header, body)


def of_pairs(style: str, browser: Browser, runs: Sequence[ComparedRun], winners: Mapping[str, str]) -> str:
    """Return the pairs that one goes through. winners: who was voted better, by prompt."""
    if browser.left is None or browser.right is None:
        return ""
    (left, left_step), (right, right_step) = browser.left, browser.right
    sides = {"left": {"run": runs[left].id, "step": left_step}, "right": {"run": runs[right].id, "step": right_step}}
    pairs = [
        {
            "prompt": pair.left.prompt,
            "reference": pair.left.reference,
            "left": _said(pair.left),
            "right": _said(pair.right),
            "vote": winners.get(pair.left.prompt),
        }
        for pair in browser.shown
    ]
    if style == "json":
        return _json(sides | {"pairs": pairs})
    names = [f"{side['run']} step {side['step']}" for side in sides.values()]
    header = ["prompt", "reference", *(f"{name} {what}" for name in names for what in ("response", "outcome")), "vote"]
    rows: Rows = [
        [
            pair["prompt"],
            pair["reference"] or "",
            *(said[what] or "" for said in (_said(one.left), _said(one.right)) for what in ("response", "outcome")),
            pair["vote"] or "",
        ]
        for pair, one in zip(pairs, browser.shown, strict=True)
    ]
    return _written(style, header, rows)


def of_answers(style: str, answers: Answers) -> str:
    """Return the tables of evaluations, or all their numbers."""
    from engine.report import tables

    told, change = answers.headline, answers.change
    if told is None:
        return ""
    if style == "json":
        return _json({"outcomes": asdict(told), "change": asdict(change) if change is not None else None})
    grids: list[tuple[str, Grid]] = [(f"Outcomes: {tables.asked(told)}", tables.headline(told))]
    if change is not None:
        grids += [
            (f"From {change.before_label} to {change.after_label}", tables.differences(change)),
            (tables.changed(change), tables.matrix(change)),
        ]
    grids += [("More figures", tables.more_figures(told)), ("Why answers failed", tables.causes(told))]
    grids += [(title, grid) for title, grid, _ in tables.groups(told)]
    parts = []
    for title, grid in grids:
        if grid.rows:
            body: Rows = [[f"{cell.text} {cell.below}".strip() for cell in row] for row in grid.rows]
            parts.append(f"## {title}\n\n{_markdown(grid.header, body)}")
    return "\n".join(parts)


def _said(said: Any) -> dict[str, object]:
    scores = {name: _number(value) for name, value in said.scores.items()}
    return {"response": said.response, "outcome": said.outcome, "scores": scores}


def _number(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _written(style: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    if style == "md":
        return _markdown(header, rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(_cell(value) for value in line)} |\n" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _json(document: object) -> str:
    return json.dumps(document, ensure_ascii=False, indent=1, default=str) + "\n"
