"""Curves of a run into files of the working folder: what can be written, and writing it. For threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.report.written import safe_name, write_new
from engine.telemetry.charts import Panel
from tui.run.curves import Curves
from tui.screens.menu import Choice

if TYPE_CHECKING:
    from engine.store.database import Store

PAGE = "page"  # the choice that `tui.page_file` writes


def export_choices(panel: Panel | None, curves: Curves, identity: str) -> list[Choice]:
    """Return what can be written of a run. panel: the chosen chart; null if there is none."""
    lacking = None if panel else "There is no chart yet."
    points = sum(curve.count for curve in curves.series.values())
    all_of = f"{len(curves.series)} series, {points:,} points"
    name = panel[0] if panel else "chart"
    return [
        *(
            Choice(style, f"{name} as {title}", style[0], f"{safe_name(f'{identity}-{name}')}.{style}", refused=lacking)
            for style, title in (("csv", "CSV"), ("json", "JSON"), ("svg", "a picture"))
        ),
        Choice("all-csv", "all series as CSV", "C", all_of, refused=lacking),
        Choice("all-json", "all series as JSON", "J", all_of, refused=lacking),
        Choice(PAGE, "the whole run as a page (HTML)", "h", f"{identity}.html"),
    ]


def write_curves(
    choice: str, panel: Panel, store: Store, folder: Path, *, identity: str, marks: Sequence[tuple[int, str]]
) -> Path:
    """Write what was chosen into a new file, and return its path. Raises RunFailed with the reason if it cannot be.

    Args:
        choice: the id of one of `export_choices`.
        panel: the chosen chart.
        store: where all points are.
        folder: where.
        identity: of the run.
        marks: (step, kind) of restarts, rollbacks and checkpoints.
    """
    from engine.report.curve_files import as_csv, as_json, as_svg
    from engine.store.point_arrays import fresh

    whole, style = choice.startswith("all-"), choice.removeprefix("all-")
    series = dict(fresh(store, identity, {}, None if whole else panel))
    if style == "svg":
        told = [mark for mark in marks if mark[1] != "checkpoint"]
        text = as_svg(panel, series, told, f"{identity}: {panel[0]}")
    else:
        text = as_csv(series) if style == "csv" else as_json(series)
    return write_new(folder, f"{identity}-metrics" if whole else f"{identity}-{panel[0]}", style, text)
