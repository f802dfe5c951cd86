"""Curves as files of their own: CSV and JSON with every point, SVG as a report draws them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.report.curves import line
from engine.report.lines import drawing, key_color
from engine.report.markup import Html, joined, tag
from engine.report.records import Chart
from engine.telemetry.charts import beside
from engine.telemetry.metrics import unit_of
from engine.telemetry.smoothing import Floats

COLUMNS = ("name", "attempt", "step", "time", "value")  # as `engine export --format csv` has them
_WIDTH, _HEIGHT, _HEAD = 720.0, 350.0, 46.0  # pixels


class Points(Protocol):
    """One series: [n] points, by ascending step."""

    @property
    def attempt(self) -> NDArray[np.int64]: ...

    @property
    def step(self) -> NDArray[np.int64]: ...

    @property
    def time(self) -> Floats: ...  # seconds since the epoch, UTC

    @property
    def value(self) -> Floats: ...


def as_csv(series: Mapping[str, Points]) -> str:
    """Return one row a point; a value reads back the same, NaN as nan."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_rows(series))
    return text.getvalue()


def as_json(series: Mapping[str, Points]) -> str:
    """Return a list of points; a value that is no finite number is null, and its name stands in `nonfinite`."""
    found: list[dict[str, Any]] = []
    for row in _rows(series):
        document: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
        if not math.isfinite(row[-1]):
            document |= {"value": None, "nonfinite": str(row[-1])}
        found.append(document)
    return json.dumps(found, ensure_ascii=False, allow_nan=False, indent=0) + "\n"


def as_svg(panel: Sequence[str], series: Mapping[str, Points], marks: Sequence[tuple[int, str]], title: str) -> str:
    """Return one chart over the steps. marks: (step, restart or rollback). title: above it."""
    lines = tuple(line(name, series[name].step.tolist(), series[name].value.tolist()) for name in panel)
    chart = Chart(panel[0], unit_of(panel[0]), lines, leading=True)
    inner = drawing(chart, marks, _WIDTH, _HEIGHT)
    placed = Html(inner.replace("<svg ", f'<svg x="0" y="{_HEAD:g}" width="{_WIDTH:g}" height="{_HEIGHT:g}" ', 1))
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    whole = tag(
        "svg",
        tag("style", Html(style + "svg { background: var(--paper); font-family: system-ui, sans-serif; }")),
        tag("text", title, x=12.0, y=18.0, font_size="14", font_weight="600"),
        joined(_legend(chart)),
        placed,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:g} {_HEIGHT + _HEAD:g}",
        width=_WIDTH,
        height=_HEIGHT + _HEAD,
        font_size="11",
    )
    return f"{whole}\n"


def _legend(chart: Chart) -> Iterator[Html]:
    x = 12.0
    for place, one in enumerate(chart.lines):
        name = one.name if place == 0 else beside(one.name, chart.title)
        name += f", {chart.unit}" if place == 0 and chart.unit not in (None, "1") else ""
        yield tag("path", d=f"M{x:.1f} 34 h16", class_=f"curve {key_color(one.name, place)}")
        yield tag("text", name, x=x + 21, y=38.0, class_="faint")
        x += 40 + 6.4 * len(name)


def _rows(series: Mapping[str, Points]) -> Iterator[tuple[str, int, int, str, float]]:
    for name, points in series.items():
        columns = (points.attempt.tolist(), points.step.tolist(), points.time.tolist(), points.value.tolist())
        for attempt, step, at, value in zip(*columns, strict=True):
            moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            yield name, attempt, step, moment, value
