"""The list of experiments as CSV, JSON or one HTML page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.report.document import document
from engine.report.listing.documents import as_document
from engine.report.markup import Html, prose, tag
from engine.report.wording import counted, measured, moment, typographic
from engine.store import series
from engine.telemetry.charts import panels
from engine.telemetry.metrics import HEADLINE
from engine.telemetry.numbers import duration

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment

STYLES = ("csv", "json", "html")
_WIDTH, _HEIGHT, _POINTS = 120.0, 20.0, 24  # of a small curve: pixels, and the newest points


def written(store: Store, style: str, shown: Sequence[Experiment], expression: str = "") -> str:
    """Return the text of a file.

    Arguments:
        store: where they were read from.
        style: one of `STYLES`.
        shown: the experiments, in the order of the list.
        expression: the filter that left them.
    """
    if style == "csv":
        return _csv(shown)
    if style == "json":
        return json.dumps([as_document(one) for one in shown], ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    return _page(shown, series.tails(store, [one.id for one in shown], _POINTS), expression)


def _csv(shown: Sequence[Experiment]) -> str:
    """Return a row an experiment; the last value of each metric has a column `last.NAME`, NaN as nan."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    rows = [{key: value for key, value in as_document(one).items() if key != "last"} for one in shown]
    names = _metrics(shown)
    if rows:
        writer.writerow([*rows[0], *(f"last.{name}" for name in names)])
    for one, row in zip(shown, rows, strict=True):
        writer.writerow([*map(_plain, row.values()), *(one.last.get(name, "") for name in names)])
    return text.getvalue()


def _metrics(shown: Sequence[Experiment]) -> list[str]:
    names = dict.fromkeys(name for one in shown for name in one.last)
    return [name for panel in panels(shown[0].kind if shown else "", names) for name in panel]


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else value


def _page(shown: Sequence[Experiment], tails: Mapping[str, Sequence[float]], expression: str) -> str:
    heard = [at for one in shown for at in (one.created_at, one.ended_at, one.heard_at) if at is not None]
    title = counted(len(shown), "experiment")
    parts = [tag("h1", title)]
    if expression:
        parts.append(tag("p", "Filter: ", tag("code", prose(expression)), class_="lead"))
    if heard:
        parts.append(tag("p", f"As the database had them on {moment(max(heard))}.", class_="soft small"))
    names = ("experiment", "state", "step", "last value", "", "took", "created", "tags", "note")
    numbers = {"step", "last value", "took"}
    header = [tag("th", name, scope="col", class_="n" if name in numbers else None) for name in names]
    body = [_row(one, tails.get(one.id, ())) for one in shown]
    table = tag("table", tag("thead", tag("tr", *header)), tag("tbody", *body), class_="full")
    parts.append(tag("div", table, class_="wide"))
    return document(title, parts, wide=True)


def _row(one: Experiment, tail: Sequence[float]) -> Html:
    name = HEADLINE.get(one.kind, "loss")
    value = [typographic(measured(name, one.last[name])), tag("small", name)] if name in one.last else []
    began, ended = one.started_at, one.ended_at
    named = tag("small", prose(one.name)) if one.name not in ("", one.id) else None
    said = one.reason if one.reason and not one.note else one.note or ""
    return tag(
        "tr",
        tag("th", one.id, named, scope="row", class_="named"),
        tag("td", one.state, class_=f"state-{one.state}"),
        tag("td", f"{one.step:,}" + (f" / {one.total_steps:,}" if one.total_steps else ""), class_="n"),
        tag("td", *value, class_="n"),
        tag("td", _curve(tail), class_="bar"),
        tag("td", duration(ended - began) if began is not None and ended is not None else "", class_="n"),
        tag("td", moment(one.created_at).removesuffix(" UTC"), class_="when"),
        tag("td", prose(" ".join(one.tags))),
        tag("td", prose(said)),
    )


def _curve(tail: Sequence[float]) -> Html | None:
    """Return a small curve of finite values."""
    points = [value for value in tail if abs(value) < 1e300]
    if len(points) < 2:
        return None
    low, span = min(points), max(points) - min(points)
    room = _HEIGHT - 4
    way = " ".join(
        f"{'L' if place else 'M'}{place * (_WIDTH - 4) / (len(points) - 1) + 2:.1f} "
        f"{_HEIGHT - 2 - (room * (value - low) / span if span else room / 2):.1f}"
        for place, value in enumerate(points)
    )
    path = tag("path", d=way, class_="curve k0")
    return tag("svg", path, viewBox=f"0 0 {_WIDTH:g} {_HEIGHT:g}", style=f"width:{_WIDTH:g}px", aria_hidden="true")
