"""The curves of an experiment, thinned out to what a chart on a page can show."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.report.records import Chart, Line
from engine.store import series
from engine.telemetry.charts import EXACT, FIRST, panels
from engine.telemetry.metrics import unit_of
from engine.telemetry.smoothing import Floats, smooth

if TYPE_CHECKING:
    from engine.store.database import Store

_BUCKETS = 120  # of a line, each with its lowest and its highest point
_SMOOTHED_FROM = 100  # points
_WEIGHT = 0.9


def charts(store: Store, identity: str, kind: str) -> tuple[Chart, ...]:
    """Return the charts of an experiment that has more than one point of something, as the terminal UI chooses them."""
    lines: dict[str, Line] = {}
    for info in series.names(store, identity):
        points = series.read(store, identity, info.name)
        if len(points.step) > 1:
            lines[info.name] = line(info.name, points.step, points.value)
    chosen = panels(kind, lines)
    # Of an evaluation the end tells, and stands in the tables.
    return tuple(
        Chart(
            panel[0],
            unit_of(panel[0]),
            tuple(lines[name] for name in panel),
            kind != "eval" and (place < FIRST or _of_group(panel)),
        )
        for place, panel in enumerate(chosen)
    )


def _of_group(panel: Sequence[str]) -> bool:
    return "/" in panel[0] and panel[0].partition("/")[0] in ("hallucinated", "reward")


def line(name: str, steps: Sequence[int], values: Sequence[float]) -> Line:
    """Return a series of which at most two points a bucket are left: the lowest and the highest one."""
    step, value = np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64)
    finite = np.isfinite(value)
    kept = _kept(step, value, finite)
    smoothed = None
    if name not in EXACT and int(finite.sum()) >= _SMOOTHED_FROM:
        smoothed = tuple(map(_number, smooth(value, _WEIGHT)[kept].tolist()))
    told = value[finite]
    return Line(
        name=name,
        step=tuple(step[kept].tolist()),
        value=tuple(map(_number, value[kept].tolist())),
        smoothed=smoothed,
        lost=tuple(step[~finite].tolist()[:_BUCKETS]),
        last=float(told[-1]) if told.size else None,
    )


def _kept(step: NDArray[np.int64], value: Floats, finite: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the places of the points that stay: the extremes of each bucket, both ends, and a gap where one is."""
    if step.size <= 2 * _BUCKETS:
        return np.arange(step.size)
    bucket = (step - step[0]) * _BUCKETS // max(1, int(step[-1] - step[0]) + 1)
    borders = np.flatnonzero(np.diff(bucket, prepend=-1))
    kept = {0, step.size - 1}
    for first, after in zip(borders.tolist(), [*borders[1:].tolist(), step.size], strict=True):
        inside = np.flatnonzero(finite[first:after]) + first
        if inside.size:
            kept |= {int(inside[value[inside].argmin()]), int(inside[value[inside].argmax()])}
        lost = np.flatnonzero(~finite[first:after])
        if lost.size:
            kept.add(int(lost[0]) + first)
    return np.array(sorted(kept), dtype=np.int64)


def _number(value: float) -> float | None:
    # Six digits: more than a chart shows, and a file half as large.
    return float(f"{value:.6g}") if math.isfinite(value) else None


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON has them: null for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
