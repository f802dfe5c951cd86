"""The last values of experiments, held against the first one's, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from engine.report.comparing.against import against, percent_text, signed
from engine.report.comparing.records import LETTERS
from engine.report.html_tables import drawn
from engine.report.markup import Html, tag
from engine.report.records import Run
from engine.report.tables import Cell, Grid
from engine.report.wording import NOTHING, measured, plain, typographic
from engine.telemetry.charts import panels
from engine.telemetry.metrics import METRICS, unit_of

_SIGNS = {"better": "▲ ", "worse": "▼ ", "same": "= ", "": ""}


def finals(runs: Sequence[Run]) -> Html:
    """Return the table: a row a metric, a column an experiment. The first one is the baseline."""
    names = _names(runs)
    if not names:
        return tag("p", "Nothing was measured yet.")
    if len(runs) == 1:
        rows = tuple((_label(name), _value(runs[0], name), Cell(_meaning(name), tone="aside")) for name in names)
        return drawn(Grid(("metric", "last value", ""), rows), class_="finals")
    header = ("metric", *(f"{letter} {run.id}" for letter, run in zip(LETTERS, runs, strict=False)))
    held = tuple(
        (_label(name), _value(runs[0], name), *(_held(name, run, runs[0]) for run in runs[1:])) for name in names
    )
    alike = "" if len({run.kind for run in runs}) == 1 else " Kinds differ, so that nothing is called better or worse."
    told = "Below each value: its difference to A. ▲ is better, ▼ worse, where a metric's direction is known."
    return Html(drawn(Grid(header, held), class_="finals") + tag("p", told + alike, class_="soft small"))


def _names(runs: Sequence[Run]) -> list[str]:
    """Return all metrics in the order of the kind of the first one, those that several have first."""
    names = dict.fromkeys(name for run in runs for name in run.last)
    ordered = [name for panel in panels(runs[0].kind, names) for name in panel]
    return sorted(ordered, key=lambda name: len(runs) > 1 and sum(name in run.last for run in runs) < 2)


def _value(run: Run, name: str) -> Cell:
    return Cell(NOTHING if name not in run.last else _told(name, run.last[name]))


def _told(name: str, value: float | None) -> str:
    if value is None:
        return "not finite"
    return measured(name, value) if unit_of(name) == "bytes" else typographic(plain(value))


def _label(name: str) -> Cell:
    unit = unit_of(name)
    return Cell(name, "" if unit in (None, "1", "bytes") else str(unit))


def _held(name: str, run: Run, baseline: Run) -> Cell:
    value, base = run.last.get(name), baseline.last.get(name)
    if value is None or base is None:
        return _value(run, name)
    found = against(name, value, base)
    if found is None:
        return _value(run, name)
    verdict = found.verdict if run.kind == baseline.kind else ""
    if found.verdict == "same":
        return Cell(_told(name, value), "=")
    percent = percent_text(found.percent)
    below = f"{_SIGNS[verdict]}{signed(found.difference)}" + (f" ({percent})" if percent else "")
    return Cell(_told(name, value), typographic(below), tone=verdict)


def _meaning(name: str) -> str:
    base, at, rank = name.partition("@")
    metric = METRICS.get(f"{base}@k" if at and rank.isdecimal() else name.partition("/")[0])
    return metric.meaning if metric is not None else ""
