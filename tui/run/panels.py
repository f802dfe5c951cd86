"""What stands in each chart of a run; `engine.telemetry.charts` has which charts there are."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from engine.telemetry.axis import Axis, Scale, x_axis
from engine.telemetry.charts import EXACT, Panel, beside
from engine.telemetry.clock_axis import clock_axis
from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import duration, exact, short
from engine.telemetry.smoothing import Floats
from tui.canvas.charset import current
from tui.canvas.frame import Ink, Span, line_ink
from tui.canvas.plot import Line, Mark, Plot, nearest_index
from tui.run.curves import Curve, Curves, XMode
from tui.run.view import View

_CHART_WIDTH = 36  # cells; narrower charts stand below each other
_CHART_HEIGHT = 9
_FEW = 20  # points are seen one by one: nothing to smooth
_COUNTED = {"eval": "questions", "rag": "chunks"}  # what a step is, by kind
_ACROSS: dict[XMode, Callable[[float, float, int], Axis]] = {
    XMode.ELAPSED: partial(x_axis, time=True),
    XMode.CLOCK: clock_axis,
}
_COUNTING = partial(x_axis, whole=True)


@dataclass(frozen=True, slots=True)
class Pointed:
    """The value that the crosshair of a chart stands at."""

    name: str
    step: int
    value: float


def fitting(width: int, height: int, count: int) -> tuple[int, int]:
    """Return in how many columns and rows so many charts are shown, in so many cells; what has no room comes later."""
    columns = max(1, min(3, width // _CHART_WIDTH))
    rows = max(1, min(-(-count // columns) if count else 1, height // _CHART_HEIGHT))
    # no hole where a smaller grid holds all
    while columns > 1 and (columns - 1) * rows >= count:
        columns -= 1
    return columns, rows


def plot(
    panel: Panel,
    curves: Curves,
    view: View,
    scale: Scale,
    *,
    marks: Sequence[tuple[int, str]] = (),
    target: float | None = None,
    kind: str = "",
    empty: str = "",
) -> Plot:
    """Return one chart.

    Args:
        panel: its series.
        curves: all series of the run.
        view: what all charts share.
        scale: of its y axis.
        marks: (step, kind) of restarts, rollbacks and checkpoints.
        target: what its first series is to come to.
        kind: of the experiment.
        empty: said where there is no point.
    """
    lines, seen = [], []
    longest = max((curve.count for curve in curves.series.values()), default=0)
    for color, name in enumerate(panel):
        x, curve = curves.seen(name, view.mode, view.window)
        seen.append(curve)
        size = curves.series[name].count
        # a few evaluations are points, not noise to smooth away; the figures of an evaluation are means already
        sparse = size < _FEW or (size < 100 and (color > 0 or 2 * size <= longest))
        plain = sparse or name in EXACT or kind == "eval"
        weight = 0.0 if plain else view.smoothing
        breaks = curves.breaks(curve, view.mode)
        lines.append(line(name, x, curve, color=color, weight=weight, breaks=breaks, joined=kind == "eval"))
    return Plot(
        lines=lines,
        title=_title(panel, seen, view, lines, target),
        aside=_aside(view, scale),
        marks=_marks(marks, curves, view.mode),
        level=target,
        scale=scale,
        x_name=axis_name(view.mode, kind, max((float(line.x[-1]) for line in lines if line.x.size), default=None)),
        across=across(view.mode),
        x_range=view.window,
        crosshair=view.crosshair,
        empty=empty,
    )


def line(
    name: str, x: Floats, curve: Curve, *, color: int, weight: float, breaks: NDArray[np.bool_] | None, joined: bool
) -> Line:
    """Return the line of a curve. weight: of its smoothing; 0: none."""
    average = curve.smoothed(weight) if weight else None
    return Line(name, x, curve.value, color, average, breaks, joined=joined, fair=curve.fair)


def _marks(marks: Sequence[tuple[int, str]], curves: Curves, mode: XMode) -> list[Mark]:
    restarts = [(curves.x_of_restart(step, mode), kind) for step, kind in marks if kind == "restart"]
    others = [(step, kind) for step, kind in marks if kind != "restart"]
    places = curves.x_of_steps([step for step, _ in others], mode)
    found = [Mark(x, kind) for x, (_, kind) in zip(places, others, strict=False)]
    return [*found, *(Mark(x, kind) for x, kind in restarts if x is not None)]


def across(mode: XMode) -> Callable[[float, float, int], Axis]:
    """Return how an x axis of this kind is divided."""
    return _ACROSS.get(mode, _COUNTING)


def axis_name(mode: XMode, kind: str, newest: float | None = None) -> str:
    """Return what an x axis counts. newest: the last moment on an axis of local time, which tells its day."""
    if mode is XMode.STEP:
        return _COUNTED.get(kind, mode.value)
    if mode is XMode.CLOCK and newest is not None:
        day = time.localtime(newest)
        return f"{mode.value}, {day.tm_mday} {time.strftime('%b', day)}"
    return mode.value


def _title(
    panel: Panel, curves: Sequence[Curve], view: View, lines: Sequence[Line], target: float | None
) -> list[Span]:
    """Return each series with its newest value, or with the exact one under the crosshair; and the target."""
    spans: list[Span] = []
    crossed = view.crosshair is not None
    places = [line.x.size - 1 if view.crosshair is None else nearest_index(line.x, view.crosshair) for line in lines]
    steps = [None if at is None or at < 0 else int(curve.step[at]) for curve, at in zip(curves, places, strict=True)]
    for color, (line, at, step) in enumerate(zip(lines, places, steps, strict=True)):
        marker = f"  {current().markers[color]} " if color else ""
        name = beside(line.name, panel[0]) if color else line.name
        spans += [(marker, line_ink(color)), (f"{name} ", Ink.ASIDE if color else Ink.NAME)]
        if at is None or step is None:
            continue
        value, unit = float(line.y[at]), unit_of(line.name)
        long = unit == "s" and value >= 60 and not crossed
        number = exact(value) if crossed else duration(value) if long else short(value)
        spans.append((number, line_ink(color) if np.isfinite(value) else Ink.NOTICE))
        if color == 0 and unit not in (None, "1") and not long and not (crossed and len(lines) > 1):
            spans.append((f" {unit}", Ink.ASIDE))
        if crossed and color and step != steps[0]:
            spans.append((f" @{step}", Ink.ASIDE))
    if target is not None:
        spans += [("  ", Ink.ASIDE), (f"{current().level} target {short(target)}", Ink.MARK)]
    return spans


def _aside(view: View, scale: Scale) -> list[Span]:
    parts = [scale.value] if scale is not Scale.LINEAR else []
    if view.window is not None:
        parts.append("zoom")
    return [(f" {current().separator} ".join(parts), Ink.ASIDE)] if parts else []
