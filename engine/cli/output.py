"""How data is printed: JSON documents for programs, aligned tables for people."""

from __future__ import annotations

import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.settings import Settings
from engine.telemetry.metrics import HEADLINE, METRICS
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

_PLACES = {name: place for place, name in enumerate(METRICS)}


def print_json(document: Any) -> None:
    """One JSON document on stdout."""
    click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2))


def print_json_line(document: Any) -> None:
    """One JSON object on one line of stdout, at once."""
    click.echo(json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    sys.stdout.flush()


def say(settings: Settings, sentence: str) -> None:
    """A sentence for people, on stderr."""
    if not settings.quiet:
        click.echo(sentence, err=True)


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """An aligned table; the columns whose index is in `right` are aligned to the right."""
    cells = [[visible(cell) for cell in row] for row in [header, *rows]]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        parts = []
        for column, cell in enumerate(row):
            gap = " " * (widths[column] - _width(cell))
            parts.append(gap + cell if column in right else cell + gap)
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def number(value: float | None) -> str:
    """A number at four significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:.4g}"


def in_order(names: Iterable[str]) -> list[str]:
    """Names of metrics in the order in which they are shown; those of groups and terms, NAME/GROUP, beside NAME."""
    return sorted(names, key=lambda name: (_PLACES.get(name.partition("/")[0], len(_PLACES)), name))


def headline(experiment: Experiment) -> str:
    """The last value of the one metric that tells most about an experiment, with its name."""
    name = HEADLINE.get(experiment.kind, "loss")
    return f"{name} {number(experiment.last[name])}" if name in experiment.last else "–"


def duration(seconds: float | None) -> str:
    """A duration in its two largest units: "3s", "4m10s", "2h05m", "3d04h"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"
