"""The curves of several runs in one chart a metric: one line a run, in the colour and with the marker of the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.telemetry.axis import Scale
from engine.telemetry.charts import EXACT, Panel, panels
from engine.telemetry.metrics import unit_of
from engine.telemetry.numbers import duration, exact, short
from engine.telemetry.smoothing import Floats
from tui.canvas.charset import current
from tui.canvas.frame import Ink, Span, line_ink
from tui.canvas.plot import Plot, nearest_index
from tui.comparison.reading import ComparedRun
from tui.run.curves import NO_POINTS, Curve, Curves, XMode
from tui.run.panels import across, line
from tui.run.view import View

_BETWEEN = " of "  # metric and letter: no metric has a space in its name
_FEW, _FEW_MEANS = 20, 100  # points that are not smoothed; of figures on held-out rows


@dataclass(frozen=True, slots=True)
class Overlay(Curves):
    """The series of all runs, each named `METRIC of LETTER`, over the x axes that all runs have."""

    runs: Sequence[ComparedRun] = field(default_factory=tuple)

    def modes(self) -> list[XMode]:
        """Return the x axes that there are data for, of every run that has points."""
        told = [run.curves.modes() for run in self.runs if run.curves.series]
        return [mode for mode in XMode if all(mode in modes for modes in told)]

    def x(self, name: str, mode: XMode) -> Floats:
        """Return the place of each point of a series on the x axis, ascending. Shape [n]."""
        metric, run = self.meant(name)
        return run.curves.x(metric, mode) if metric in run.curves.series else np.empty(0)

    def seen(self, name: str, mode: XMode, window: tuple[float, float] | None) -> tuple[Floats, Curve]:
        """Return x and points of a series for a part of the x axis."""
        metric, run = self.meant(name)
        there = metric in run.curves.series
        return run.curves.seen(metric, mode, window) if there else (np.empty(0), NO_POINTS)

    def x_of_steps(self, steps: Sequence[float], mode: XMode) -> list[float]:
        """Return nothing: the marks of several runs in one chart would hide each other."""
        return []

    def meant(self, name: str) -> tuple[str, ComparedRun]:
        """Return metric and run of a series."""
        metric, _, letter = name.rpartition(_BETWEEN)
        return metric, next(run for run in self.runs if run.letter == letter)


def overlaid(runs: Sequence[ComparedRun]) -> Overlay:
    """Return the curves of these runs together; those that were not read have no points."""
    series = {
        f"{name}{_BETWEEN}{run.letter}": run.curves.series.get(name, NO_POINTS) for run in runs for name in run.names
    }
    return Overlay(series, runs=tuple(runs))


def overlay_panels(runs: Sequence[ComparedRun]) -> list[Panel]:
    """Return one panel a metric: in the order of the kind of the first run, those that several runs have first."""
    if not runs:
        return []
    names = dict.fromkeys(name for run in runs for name in run.names)
    ordered = [name for panel in panels(runs[0].experiment.kind, names) for name in panel]
    shared = {name for name in ordered if sum(name in run.names for run in runs) > 1}
    return [
        tuple(f"{name}{_BETWEEN}{run.letter}" for run in runs if name in run.names)
        for name in sorted(ordered, key=lambda name: name not in shared)
    ]


def metric_of(panel: Panel) -> str:
    """Return the metric of a panel."""
    return panel[0].rpartition(_BETWEEN)[0]


def overlay_plot(panel: Panel, overlay: Overlay, view: View, scale: Scale, top: int = 0) -> Plot:
    """Return the chart of one metric. top: the place of the run whose line hides others."""
    lines = []
    for name in panel:
        metric, run = overlay.meant(name)
        x, curve = overlay.seen(name, view.mode, view.window)
        few = overlay.series[name].count < (_FEW_MEANS if metric.startswith("eval_") else _FEW)
        weight = 0.0 if few or metric in EXACT or run.experiment.kind == "eval" else view.smoothing
        breaks = overlay.breaks(curve, view.mode)
        lines.append(line(name, x, curve, color=run.place, weight=weight, breaks=breaks, joined=True))
    return Plot(
        lines=sorted(lines, key=lambda line: (line.color == top, line.color == 0)),
        title=_title(panel, overlay, view),
        aside=[(scale.value if scale is not Scale.LINEAR else "zoom" if view.window else "", Ink.ASIDE)],
        scale=scale,
        x_name=view.mode,
        across=across(view.mode),
        x_range=view.window,
        crosshair=view.crosshair,
        empty="reading…",
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """The value of a run at one place. step: where it was measured; null: it has none."""

    value: float | None
    step: int | None


def readings(panel: Panel, overlay: Overlay, view: View) -> dict[str, Reading]:
    """Return the value of each run under the crosshair, or the newest one without, by letter."""
    found = {}
    for name in panel:
        _, run = overlay.meant(name)
        x, curve = overlay.seen(name, view.mode, view.window)
        at = x.size - 1 if view.crosshair is None else nearest_index(x, view.crosshair)
        there = at is not None and at >= 0
        found[run.letter] = (
            Reading(float(curve.value[at]), int(curve.step[at])) if there and at is not None else Reading(None, None)
        )
    return found


def number(metric: str, value: float, *, whole: bool = False) -> str:
    """Return a value as a chart's title has it. whole: with all its digits."""
    if whole:
        return exact(value)
    return duration(value) if unit_of(metric) == "s" and value >= 60 else short(value)


def _title(panel: Panel, overlay: Overlay, view: View) -> list[Span]:
    metric = metric_of(panel)
    spans: list[Span] = [(metric, Ink.NAME)]
    colors = {run.letter: run.place for run in overlay.runs}
    for letter, reading in readings(panel, overlay, view).items():
        if reading.value is None:
            continue
        ink = line_ink(colors[letter]) if np.isfinite(reading.value) else Ink.NOTICE
        spans.append((f"  {current().markers[colors[letter]]}{letter} {number(metric, reading.value)}", ink))
    return spans
