"""Stacked bars of outcomes, a row a stage, what was read side by side, as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.report.markup import Html, joined, tag
from engine.report.records import Headline, Measured, Part
from engine.report.wording import OUTCOMES, percent

_WIDTH, _LABEL, _GAP = 960.0, 150.0, 22.0
_BAR, _ROW, _TOP = 26.0, 38.0, 26.0
_SIDE_BY_SIDE = 3
_CHARACTER = 7.2  # pixels, about, at the size of the labels


def bars(headline: Headline) -> Html:
    """Return the bars of a headline; of more ways of reading than fit side by side, the others below."""
    numbers = range(len(headline.settings))
    rows = [numbers[at : at + _SIDE_BY_SIDE] for at in range(0, len(numbers), _SIDE_BY_SIDE)]
    return joined(_figure(headline, row) for row in rows)


def shares(part: Part) -> dict[str, float]:
    """Return the shares of outcomes that a part tells, in order; those of nothing left out."""
    found = {name: part.figures.get(name) for name in OUTCOMES}
    return {name: figure.value for name, figure in found.items() if figure is not None and figure.value > 0}


def _figure(headline: Headline, settings: range) -> Html:
    by_place = {(one.stage, one.setting): one for one in headline.measured}
    width = (_WIDTH - _LABEL - _GAP * (len(settings) - 1)) / len(settings)
    height = _TOP + _ROW * len(headline.stages)
    parts: list[Html] = []
    for column, setting in enumerate(settings):
        left = _LABEL + column * (width + _GAP)
        name = headline.settings[setting]
        parts.append(_text(left, 14.0, _fitting(name, width), "faint", title=name))
        for stage in range(len(headline.stages)):
            top = _TOP + stage * _ROW
            parts.extend(_bar(by_place.get((stage, setting)), left, top, width))
    for stage, one in enumerate(headline.stages):
        middle = _TOP + stage * _ROW + _BAR / 2 + 4.5
        parts.append(_text(0.0, middle, _fitting(one.label, _LABEL - 8), weight="600", title=one.name))
    told = "; ".join(
        f"{one.label}: " + ", ".join(f"{name} {percent(value)}" for name, value in shares(one.part).items())
        for one in headline.measured
        if one.part is not None and one.setting in settings
    )
    return tag("svg", *parts, viewBox=f"0 0 {_WIDTH:.0f} {height:.0f}", role="img", aria_label=told, font_size="13")


def _bar(one: Measured | None, left: float, top: float, width: float) -> Iterator[Html]:
    if one is None or one.part is None:
        told = "not evaluated" if one is None else f"no figures: {one.state}"
        yield tag("line", x1=left, x2=left + width, y1=top + _BAR, y2=top + _BAR, class_="grid")
        yield _text(left + 4, top + _BAR / 2 + 4.5, told, "faint")
        return
    at = left
    for name, share in shares(one.part).items():
        long = width * share
        title = tag("title", f"{one.label}: {name} {percent(share)}")
        yield tag("rect", title, x=at, y=top, width=long, height=_BAR, class_=name)
        if long > 4.2 * _CHARACTER:
            yield _text(at + long / 2, top + _BAR / 2 + 4.5, f"{100 * share:.0f}%", f"on-{name}", anchor="middle")
        at += long


def small(part: Part) -> Html:
    """Return one bar without text, for a row of a table."""
    at, rows = 0.0, []
    for name, share in shares(part).items():
        rows.append(tag("rect", x=at, y=0.0, width=120 * share, height=12.0, class_=name))
        at += 120 * share
    return tag("svg", *rows, viewBox="0 0 120 12", style="width:120px", aria_hidden="true")


def _text(
    x: float, y: float, text: str, class_: str | None = None, *, anchor: str | None = None, **more: str | None
) -> Html:
    title = more.get("title")
    hover = tag("title", title) if title is not None and title != text else None
    return tag("text", text, hover, x=x, y=y, class_=class_, text_anchor=anchor, font_weight=more.get("weight"))


def _fitting(text: str, width: float) -> str:
    most = int(width / _CHARACTER)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def legend(parts: Mapping[str, bool]) -> Html:
    """Return what the colours mean. parts: whether each outcome occurs."""
    shown = [name for name in OUTCOMES if parts.get(name)]
    return tag("p", *(tag("span", tag("i", class_=f"swatch {name}"), name) for name in shown), class_="legend")
