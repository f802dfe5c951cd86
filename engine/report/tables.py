"""The tables of a report, as rows of text: HTML and Markdown show the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from engine.report.records import Change, Given, Headline, Measured, Part, Run
from engine.report.wording import (
    CAUSES,
    NOTHING,
    OUTCOMES,
    interval_of,
    is_significant,
    lasted,
    measured,
    moment,
    named,
    p_value,
    percent,
    plain,
    points_of,
    value_of,
)
from engine.telemetry.metrics import METRICS

HEADLINE_FIGURES = ("correct", "abstained", "hallucinated", "score")
# Which way a figure is better; the others are neither good nor bad by themselves.
_WANTED = {"correct": 1, "score": 1, "hallucinated": -1, "hallucinated_of_attempted": -1, "over_refusal": -1}
_LONGEST_VALUE = 160  # characters of a value of a spec
_MORE_FIGURES = (
    *("score_at_0.75", "score_at_0.9", "hallucinated_of_attempted", "over_refusal", "refusal_recall"),
    *("refusal_precision", "refusal_f1", "mc1", "mc2", "hit", "recall", "groundedness", "citation_recall"),
    *("citation_precision", "claims_per_answer", "responds"),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table. below: its interval. tone: better, worse, same, differs, or none: there is nothing."""

    text: str
    below: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table. The first column names the rows; `spans` are (label, columns) above the other ones."""

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: bool = True  # whether the columns after the first are numbers
    spans: tuple[tuple[str, int], ...] = ()


def headline(told: Headline) -> Grid:
    """Return stages × figures, for each way of reading side by side."""
    by_place = {(one.stage, one.setting): one for one in told.measured}
    rows = []
    for stage, one in enumerate(told.stages):
        cells = [Cell(one.label, one.name if one.name != one.label else "")]
        for setting in range(len(told.settings)):
            cells += _figures(by_place.get((stage, setting)), HEADLINE_FIGURES)
        rows.append(tuple(cells))
    spans = tuple((setting, len(HEADLINE_FIGURES)) for setting in told.settings)
    return Grid(("stage", *HEADLINE_FIGURES * len(spans)), tuple(rows), spans=spans)


def _figures(one: Measured | None, names: Sequence[str]) -> list[Cell]:
    if one is None or one.part is None:
        told = "not evaluated" if one is None else one.state
        return [Cell(told, tone="none"), *[Cell(NOTHING, tone="none")] * (len(names) - 1)]
    return [_figure(one.part, name) for name in names]


def _figure(part: Part, name: str) -> Cell:
    figure = part.figures.get(name)
    if figure is None:
        return Cell(NOTHING, tone="none")
    return Cell(value_of(name, figure.value), interval_of(name, figure))


def more_figures(told: Headline) -> Grid:
    """Return the other figures, a column an evaluation."""
    shown = [one for one in told.measured if one.part is not None]
    rows = []
    for name in _MORE_FIGURES:
        if any(one.part is not None and one.part.figures.get(name) is not None for one in shown):
            cells = [_figure(one.part, name) for one in shown if one.part is not None]
            rows.append((Cell(named(name)), *cells))
    return Grid(("figure", *(one.label for one in shown)), tuple(rows))


def groups(told: Headline) -> list[tuple[str, Grid, list[Part]]]:
    """Return each group of questions: its name, its table, and the figures behind each row."""
    names = sorted({name for one in told.measured for name in one.groups})
    found = []
    for name in names:
        shown = [(one, one.groups[name]) for one in told.measured if name in one.groups]
        asked = max(part.questions for _, part in shown)
        figures = HEADLINE_FIGURES if any("score" in part.figures for _, part in shown) else HEADLINE_FIGURES[:3]
        rows = [(Cell(one.label), *(_figure(part, figure) for figure in figures)) for one, part in shown]
        title = f"{name}: {asked:,} questions" if asked else name
        found.append((title, Grid(("stage", *figures), tuple(rows)), [part for _, part in shown]))
    return found


def matrix(change: Change) -> Grid:
    """Return from which outcome to which how many answers went."""
    used = [
        outcome
        for outcome in OUTCOMES
        if outcome != "undetermined"
        or any(change.counts[outcome].values())
        or any(row[outcome] for row in change.counts.values())
    ]
    rows = []
    for was in used:
        row = [Cell(f"{change.counts[was][now]:,}", tone="same" if was == now else "") for now in used]
        rows.append((Cell(f"was {was}"), *row, Cell(f"{sum(change.counts[was].values()):,}")))
    totals = [Cell(f"{sum(change.counts[was][now] for was in used):,}") for now in used]
    rows.append((Cell("all"), *totals, Cell(f"{change.paired:,}")))
    return Grid(("", *(f"now {now}" for now in used), "all"), tuple(rows))


def differences(change: Change) -> Grid:
    """Return by how much each figure grew."""
    tests = {"correct": change.p_correct, "hallucinated": change.p_hallucinated}
    rows = []
    for name, figure in change.differences.items():
        tone = ""
        if figure is not None and is_significant(figure) and name in _WANTED:
            tone = "better" if figure.value * _WANTED[name] > 0 else "worse"
        test = p_value(tests[name]) if name in tests else ""
        rows.append((Cell(named(name)), Cell(points_of(name, figure), tone=tone), Cell(test)))
    return Grid(("figure", "after − before (95% interval)", "McNemar"), tuple(rows))


def retrieval(told: Headline) -> Grid:
    """Return the outcomes where a passage held what is needed, and where none did."""
    rows = []
    for one in told.measured:
        for side, words in (("hit", "a passage held the answer"), ("miss", "none did")):
            if (part := one.retrieval.get(side)) is not None:
                figures = (_figure(part, name) for name in HEADLINE_FIGURES)
                rows.append((Cell(f"{one.label}: {words}"), Cell(f"{part.questions:,}"), *figures))
    return Grid(("", "questions", *HEADLINE_FIGURES), tuple(rows))


def causes(told: Headline) -> Grid:
    """Return why answers failed, a column an evaluation; causes that never occur are left out."""
    shown = [one for one in told.measured if any(one.causes.values())]
    occurring = [cause for cause in CAUSES if any(one.causes.get(cause) for one in shown)]
    rows = [(Cell(CAUSES[cause]), *(Cell(f"{one.causes.get(cause, 0):,}") for one in shown)) for cause in occurring]
    return Grid(("cause of failure", *(one.label for one in shown)), tuple(rows))


def calibrated(told: Headline) -> dict[str, Mapping[str, object]]:
    """Return the calibration of each evaluation that has one, by its label."""
    return {one.label: one.calibration for one in told.measured if one.calibration is not None}


def calibration(told: Headline) -> Grid:
    """Return how well confidence tells correct from hallucinated answers."""
    keys = {"answers": "answers", "auroc": "AUROC", "aurc": "AURC", "ece": "calibration error", "brier": "Brier"}
    rows = []
    for label, one in calibrated(told).items():
        values = [one.get(key) for key in keys]
        cells = [Cell(plain(value) if isinstance(value, int | float) else NOTHING) for value in values]
        rows.append((Cell(label), *cells))
    return Grid(("stage", *keys.values()), tuple(rows))


def indexes(runs: Sequence[Run]) -> Grid:
    """Return what was measured of each retrieval index, a column an index."""
    shown = [run for run in runs if run.kind == "rag"]
    places = {name: place for place, name in enumerate(METRICS)}
    names = {name for run in shown for name in run.last}
    ordered = sorted(names, key=lambda name: (places.get(name.partition("@")[0] + "@k", places.get(name, 999)), name))
    rows = []
    for name in ordered:
        rows.append((Cell(name), *(Cell(measured(name, run.last.get(name))) for run in shown)))
    return Grid(("measure", *(run.name for run in shown)), tuple(rows))


def attempts(run: Run) -> Grid:
    """Return the launches of an experiment."""
    rows = tuple(
        (
            Cell(str(one.number)),
            Cell(one.state),
            Cell(str(one.resumed_step or 0)),
            Cell(moment(one.started_at)),
            Cell(lasted(one.started_at, one.ended_at)),
            Cell(" ".join(one.nodes) + f" ({one.slots} slots)"),
            Cell(one.reason or ""),
        )
        for one in run.attempts
    )
    return Grid(("attempt", "state", "from step", "began", "lasted", "nodes", "reason"), rows, numeric=False)


def incidents(run: Run) -> Grid:
    """Return warnings, errors and what the health rules found."""
    rows = tuple(
        (Cell(moment(one.time)), Cell("" if one.step is None else str(one.step)), Cell(one.level), Cell(one.message))
        for one in run.incidents
    )
    return Grid(("time", "step", "level", "what happened"), rows, numeric=False)


def keys(run: Run) -> Grid:
    """Return the keys of a spec that are set, and what they are in the spec that it is held against."""
    rows = []
    for one in run.keys:
        cells = [Cell(one.key), Cell(_value(one.value), tone="differs" if one.differs else "")]
        if run.against is not None:
            cells.append(Cell(_value(one.other) if one.differs else "the same" if one.other == one.value else NOTHING))
        rows.append(tuple(cells))
    return Grid(("key", "value", *(() if run.against is None else (f"in {run.against}",))), tuple(rows), numeric=False)


def facts(run: Run) -> Iterator[tuple[str, str]]:
    """Yield what is to be said of an experiment in a line each."""
    if run.reason is not None:
        yield "reason", run.reason
    yield "step", f"{run.step:,} of {run.total_steps:,}" if run.total_steps else f"{run.step:,}"
    yield "began", moment(run.started_at)
    yield "ended", f"{moment(run.ended_at)}, after {lasted(run.started_at, run.ended_at)}"
    yield "hostfile", run.hostfile or "this machine alone"
    for one in run.taken:
        yield "takes", f"{', '.join(one.keys) or 'an input'}: {_origin(one.name, one.parent, one.step, one.sha256)}"
    for made in run.made:
        yield "made", _origin(made.kind, made.kind, made.step, made.sha256)
    if run.used_by:
        yield "used by", " ".join(run.used_by)
    yield "spec hash", run.spec_hash[:16]
    if run.software:
        yield "versions", ", ".join(f"{name} {version}" for name, version in run.software.items())
    if run.note:
        yield "note", run.note


def _origin(name: str, identity: str, step: int | None, sha256: str | None) -> str:
    known = [identity] if name != identity else []
    known += [f"step {step:,}"] if step is not None else []
    known += [f"SHA-256 {sha256[:12]}"] if sha256 is not None else []
    return f"{name} ({', '.join(known)})" if known else name


def _value(value: object) -> str:
    if value is None:
        return "null"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + "…"


def last_metrics(run: Run) -> list[tuple[str, str]]:
    """Return the last value of each metric that has no curve."""
    drawn = {line.name for chart in run.charts for line in chart.lines}
    return [(name, measured(name, value)) for name, value in run.last.items() if name not in drawn]


def asked(told: Headline) -> str:
    """Return what was asked, in a few words."""
    one = told.questions
    counted = max((each.part.questions for each in told.measured if each.part is not None), default=0)
    parts = [f"{counted:,} questions of {one.file}" if counted else one.file]
    parts += [f"split {one.split}"] if one.split else []
    parts += ["multiple choice"] if one.format == "multiple_choice" else []
    return ", ".join(parts)


def changed(change: Change) -> str:
    """Return in one sentence how many answers changed how."""
    return (
        f"Of {change.paired:,} questions, {change.mended:,} were mended (correct now, and not before), "
        f"{change.broken:,} broken, {change.newly_abstains:,} newly abstain, {change.newly_hallucinates:,} newly "
        f"hallucinate." + (f" {change.unpaired:,} more were asked of one of the two only." if change.unpaired else "")
    )


def cause_of(one: Given) -> str | None:
    """Return why an answer failed; of one that had no passages that need not be said."""
    return CAUSES.get(one.cause or "") if one.passages is not None or one.cause != "fabrication" else None


def confidence(value: float | None) -> str:
    """Return a confidence as it stands behind an outcome."""
    return "" if value is None else f", confidence {percent(value)}"
