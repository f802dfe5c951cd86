"""The curves of several experiments in one chart a metric, and score against KL: one colour an experiment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from engine.report.comparing.records import Comparison, Side
from engine.report.lines import Box, drawing
from engine.report.markup import Html, joined, tag
from engine.report.records import Chart, Line
from engine.report.wording import measured, plain
from engine.telemetry.axis import Scale, y_axis
from engine.telemetry.charts import panels
from engine.telemetry.metrics import unit_of

_ROWS = 3  # of charts that are not folded
_RAW_UP_TO = 2  # experiments whose raw values stand behind the smoothed ones
_WIDTH, _HEIGHT = 420.0, 205.0  # pixels
_KL, _SCORE = "kl", "score"


def overlay(told: Comparison) -> Iterator[Html]:
    """Yield the charts: those that several have first, the later ones folded."""
    lines = _lines(told)
    names = dict.fromkeys(name for own in lines for name in own)
    ordered = [name for panel in panels(told.sides[0].run.kind, names) for name in panel]
    shared = sorted(ordered, key=lambda name: sum(name in own for own in lines) < 2)
    if not shared:
        return
    most = _ROWS * (3 if told.is_wide else 2)
    figures = [_figure(told, lines, name) for name in shared]
    yield tag("div", joined(figures[:most]), class_="charts large")
    signs = ["the number is the last value"]
    if any(line.lost for own in lines for line in own.values()):
        signs.append("a red cross is no finite number")
    if any(line.smoothed is not None for own in lines for line in own.values()):
        faint = "what is faint was measured, what is strong is smoothed" if len(lines) <= _RAW_UP_TO else "smoothed"
        signs.append(faint if len(lines) <= _RAW_UP_TO else "long curves are smoothed")
    if _target(told) is not None:
        signs.append(f"the dashed line at KL is its target, {plain(_target(told))}")
    yield tag("p", f"Over the steps; {'; '.join(signs)}.", class_="soft small")
    if figures[most:]:
        summary = tag("summary", f"{len(figures) - most} more curves")
        yield tag("details", summary, tag("div", joined(figures[most:]), class_="charts large"))


def _lines(told: Comparison) -> list[dict[str, Line]]:
    """Return the curves of each experiment by metric; with many of them smoothed ones lose their raw values."""
    found = []
    for side in told.sides:
        own = {line.name: line for chart in side.run.charts for line in chart.lines}
        if len(told.sides) > _RAW_UP_TO:
            own = {
                name: line if line.smoothed is None else replace(line, value=line.smoothed, smoothed=None)
                for name, line in own.items()
            }
        found.append(own)
    return found


def _figure(told: Comparison, lines: Sequence[Mapping[str, Line]], name: str) -> Html:
    shown = [(side, own[name]) for side, own in zip(told.sides, lines, strict=True) if name in own]
    named = tuple(replace(line, name=f"{side.letter} {side.run.id}") for side, line in shown)
    chart = Chart(name, unit_of(name), named, leading=True)
    level = _target(told) if name == _KL else None
    colors = [f"k{side.place}" for side, _ in shown]
    unit = f", {chart.unit}" if chart.unit not in (None, "1") else ""
    keys = [_key(side, plain(line.last)) for side, line in shown]
    caption = tag("figcaption", tag("div", tag("b", name), tag("i", unit, class_="soft")), *keys)
    return tag("figure", caption, drawing(chart, (), _WIDTH, _HEIGHT, colors=colors, level=level))


def _key(side: Side, text: str) -> Html:
    return tag("span", tag("i", class_=f"key k{side.place}"), tag("b", side.letter), f" {text}")


def _target(told: Comparison) -> float | None:
    """Return the divergence that all of them aim at; null where they differ, or have none."""
    targets = {side.kl_target for side in told.sides if side.kl_target is not None}
    return targets.pop() if len(targets) == 1 else None


def paths(told: Comparison) -> Iterator[Html]:
    """Yield what each policy pays for its reward: score against divergence from the reference, over its steps."""
    ways = [(side, way) for side in told.sides if len(way := _way(side)) > 1]
    if not ways:
        return
    across = [x for _, way in ways for x, _ in way]
    up = [y for _, way in ways for _, y in way]
    target = _target(told)
    if target is not None:
        across.append(target)
    axes = [y_axis(min(each), max(each), Scale.LINEAR, 5) for each in (across, up)]
    box = Box(860.0, 330.0, axes[0], axes[1], bottom=40.0, left=54.0)
    parts = []
    if target is not None:
        at = box.across(target)
        title = tag("title", f"target {plain(target)}")
        parts.append(tag("line", title, x1=at, x2=at, y1=box.top, y2=box.height - box.bottom, class_="mark"))
    for side, way in ways:
        color = f"k{side.place}"
        parts.append(tag("path", d=box.path([x for x, _ in way], [y for _, y in way]), class_=f"curve {color}"))
        x, y = way[-1]
        last = tag("title", f"{side.letter} {side.run.id}: score {plain(y)} at KL {plain(x)}")
        parts.append(tag("circle", last, cx=box.across(x), cy=box.down(y), r=4.5, class_=f"dot {color}"))
        aside = box.across(x) < box.width / 2
        place = {"x": box.across(x) + (10 if aside else 0), "y": box.down(y) + (4 if aside else -10)}
        parts.append(tag("text", side.letter, **place, text_anchor="start" if aside else "middle", font_weight="600"))
    parts.append(
        tag("text", "KL to the reference, " + (unit_of(_KL) or ""), x=box.width - box.right, y=box.height - 5,
            text_anchor="end", class_="faint")
    )  # fmt: skip
    keys = [_key(side, f"score {measured(_SCORE, way[-1][1])} at KL {plain(way[-1][0])}") for side, way in ways]
    yield tag("figure", tag("figcaption", *keys), box.picture("score against KL", *parts), class_="path")
    dashed = " The dashed line is the KL target." if target is not None else ""
    yield tag("p", f"Each path goes over the steps; its circle is the last one.{dashed}", class_="soft small")


def _way(side: Side) -> list[tuple[float, float]]:
    """Return KL and score at the steps that have both: smoothed ones where they are."""
    lines = {line.name: line for chart in side.run.charts for line in chart.lines}
    if _KL not in lines or _SCORE not in lines:
        return []
    x, y = (dict(zip(line.step, line.smoothed or line.value, strict=True)) for line in (lines[_KL], lines[_SCORE]))
    found = [(x[step], y[step]) for step in x if step in y]
    return [(one, other) for one, other in found if one is not None and other is not None]
