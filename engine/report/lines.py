"""Curves, calibration and risk against coverage as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.report.markup import Html, joined, tag
from engine.report.records import Chart, Line
from engine.report.wording import measured, percent, plain
from engine.telemetry.axis import Axis, Scale, x_axis, y_axis
from engine.telemetry.charts import beside

_COLORS = 8
_OUTCOMES = ("hallucinated", "correct", "abstained")
_DOTS_UP_TO = 24  # points of a line that are shown one by one


@dataclass(frozen=True, slots=True)
class Box:
    """Where the area of a chart lies in its picture, and what it spans."""

    width: float
    height: float
    x: Axis
    y: Axis
    left: float = 46.0
    right: float = 10.0
    top: float = 8.0
    bottom: float = 24.0

    def across(self, value: float) -> float:
        """Return the pixel of an x."""
        at = float(self.x.fraction(np.array([value]))[0])
        return self.left + at * (self.width - self.left - self.right)

    def down(self, value: float) -> float:
        """Return the pixel of a y."""
        at = float(self.y.fraction(np.array([value]))[0])
        return self.height - self.bottom - at * (self.height - self.top - self.bottom)

    def frame(self) -> Iterator[Html]:
        """Yield the grid and its labels."""
        low, end = self.height - self.bottom, self.width - self.right
        for value, label in self.y.ticks:
            at = self.down(value)
            yield tag("line", x1=self.left, x2=end, y1=at, y2=at, class_="grid")
            yield tag("text", label, x=self.left - 5, y=at + 4, text_anchor="end", class_="faint")
        for value, label in self.x.ticks:
            at = self.across(value)
            yield tag("line", x1=at, x2=at, y1=low, y2=low + 4, class_="axis")
            # What would stick out at an end is set inside.
            half = 3.4 * len(label)
            anchor = "end" if at + half > self.width else "start" if at - half < 0 else "middle"
            x = self.width - 1 if anchor == "end" else at
            yield tag("text", label, x=x, y=low + 16, text_anchor=anchor, class_="faint")
        yield tag("line", x1=self.left, x2=end, y1=low, y2=low, class_="axis")

    def path(self, xs: Sequence[float], ys: Sequence[float | None]) -> str:
        """Return the way through points; it breaks off where there is none."""
        values = np.array([math.nan if y is None else y for y in ys], dtype=np.float64)
        across = self.left + self.x.fraction(np.array(xs, dtype=np.float64)) * (self.width - self.left - self.right)
        room = self.height - self.top - self.bottom
        down = self.height - self.bottom - self.y.fraction(values) * room
        words, drawing = [], False
        for x, y, there in zip(across.tolist(), down.tolist(), np.isfinite(values).tolist(), strict=True):
            if there:
                words.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
            drawing = there
        # A point alone is a line of no length: its round ends are seen.
        return " ".join(words) + (" h0" if words else "")

    def picture(self, told: str, *parts: Html) -> Html:
        """Return the chart. told: what it shows, for who cannot see it."""
        view = f"0 0 {self.width:.0f} {self.height:.0f}"
        return tag("svg", *self.frame(), *parts, viewBox=view, role="img", aria_label=told, font_size="11")


def figure(chart: Chart, marks: Sequence[tuple[int, str]]) -> Html:
    """Return a chart of curves with its caption. marks: (step, restart or rollback)."""
    return tag("figure", tag("figcaption", *_caption(chart)), drawing(chart, marks, 340.0, 165.0))


def drawing(
    chart: Chart,
    marks: Sequence[tuple[int, str]],
    width: float,
    height: float,
    *,
    colors: Sequence[str] = (),
    level: float | None = None,
) -> Html:
    """Return the picture of a chart alone.

    Arguments:
        width, height: pixels.
        colors: the class of each line; empty: by its name and place.
        level: a value that is aimed at.
    """
    values = [value for line in chart.lines for value in line.value if value is not None]
    values += [level] if level is not None else []
    steps = [step for line in chart.lines for step in (line.step[0], line.step[-1])]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    box = Box(width, height, x_axis(min(steps), max(steps), 4), y_axis(low, high, Scale.LINEAR, 4))
    parts: list[Html] = []
    for step, what in marks:
        if box.x.low <= step <= box.x.high:
            at = box.across(step)
            title = tag("title", f"{what} at step {step}")
            parts.append(tag("line", title, x1=at, x2=at, y1=box.top, y2=box.height - box.bottom, class_="mark"))
    if level is not None:
        at = box.down(level)
        title = tag("title", f"target {plain(level)}")
        parts.append(tag("line", title, x1=box.left, x2=width - box.right, y1=at, y2=at, class_="mark"))
    for place, line in enumerate(chart.lines):
        parts.extend(_curve(box, line, colors[place] if colors else key_color(line.name, place)))
    return box.picture(chart.title, *parts)


def _curve(box: Box, line: Line, color: str) -> Iterator[Html]:
    raw = "curve" if line.smoothed is None else "curve raw"
    yield tag("path", d=box.path(line.step, line.value), class_=f"{raw} {color}")
    if line.smoothed is not None:
        yield tag("path", d=box.path(line.step, line.smoothed), class_=f"curve {color}")
    if len(line.step) <= _DOTS_UP_TO:
        for step, value in zip(line.step, line.value, strict=True):
            if value is not None:
                yield tag("circle", cx=box.across(step), cy=box.down(value), r=2.4, class_=f"dot {color}")
    for step in line.lost:
        x, y = box.across(step), box.height - box.bottom - 7
        title = tag("title", f"{line.name} is no finite number at step {step}")
        yield tag("path", title, d=f"M{x - 3:.1f} {y - 3:.1f} l6 6 m0 -6 l-6 6", class_="lost")


def _caption(chart: Chart) -> Iterator[Html]:
    first = chart.lines[0].name
    for place, line in enumerate(chart.lines):
        name = line.name if place == 0 else beside(line.name, first)
        key = tag("i", class_=f"key {key_color(line.name, place)}")
        label = tag("b", name) if place == 0 else name
        yield tag("span", key, label, " " + (measured(line.name, line.last) if place == 0 else plain(line.last)))


def key_color(name: str, place: int) -> str:
    """Return the class that gives a line its colour. place: in its chart."""
    base = name.partition("/")[0]
    return f"k{base}" if base in _OUTCOMES else f"k{place % _COLORS}"


def _shares(most: float = 1.0) -> Axis:
    """Return an axis of shares from 0 to at least `most`."""
    axis = y_axis(0.0, max(most, 0.01), Scale.LINEAR, 5)
    return Axis(axis.low, axis.high, tuple((value, f"{100 * value:g}%") for value, _ in axis.ticks))


def risk_coverage(told: Mapping[str, Mapping[str, Any]]) -> Html:
    """Return what share of answers is wrong if only the surest are given. told: the calibration of each, by label."""
    most = max((point["risk"] for one in told.values() for point in one["risk_coverage"]), default=1.0)
    box = Box(300.0, 230.0, _shares(), _shares(most))
    parts, keys = [], []
    for place, (label, one) in enumerate(told.items()):
        points = one["risk_coverage"]
        way = box.path([point["coverage"] for point in points], [point["risk"] for point in points])
        parts.append(tag("path", d=way, class_=f"curve k{place % _COLORS}"))
        keys.append(tag("span", tag("i", class_=f"key k{place % _COLORS}"), label))
    caption = tag("figcaption", tag("b", "Risk against coverage: "), *keys)
    return tag("figure", caption, box.picture("risk against coverage", *parts))


def reliability(label: str, one: Mapping[str, Any], place: int) -> Html:
    """Return how often answers of some confidence are right. one: the calibration of an evaluation."""
    box = Box(300.0, 230.0, _shares(), _shares())
    bins = one["reliability"]
    most = max((each["answers"] for each in bins), default=1)
    corner = (box.across(0), box.down(0), box.across(1), box.down(1))
    parts = [tag("line", x1=corner[0], y1=corner[1], x2=corner[2], y2=corner[3], class_="mark")]
    way = box.path([each["confidence"] for each in bins], [each["correct"] for each in bins])
    parts.append(tag("path", d=way, class_=f"curve raw k{place % _COLORS}"))
    for each in bins:
        title = tag(
            "title",
            f"{each['answers']} answers of confidence {percent(each['confidence'])}: {percent(each['correct'])} right",
        )
        radius = 2.0 + 5.0 * (each["answers"] / most) ** 0.5
        x, y = box.across(each["confidence"]), box.down(each["correct"])
        parts.append(tag("circle", title, cx=x, cy=y, r=radius, class_=f"dot k{place % _COLORS}"))
    key = tag("i", class_=f"key k{place % _COLORS}")
    return tag(
        "figure", tag("figcaption", tag("span", key, tag("b", label))), box.picture(f"{label}: calibration", *parts)
    )


def curves(charts: Sequence[Chart], marks: Sequence[tuple[int, str]]) -> Html:
    """Return charts side by side."""
    return tag("div", joined(figure(chart, marks) for chart in charts), class_="charts")
