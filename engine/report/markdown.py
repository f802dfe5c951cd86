"""The report as Markdown: what the page says, without its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.report import tables
from engine.report.html_examples import LONGEST_ANSWER, LONGEST_PASSAGE, MOST_PASSAGES
from engine.report.records import Change, Example, Given, Headline, Report, Run
from engine.report.tables import Grid
from engine.report.wording import NOTHING, counted, measured, moment, plain
from engine.telemetry.visible import visible

# What Markdown and the HTML in it would obey.
_SPECIAL = re.compile(r"[\\`*\[\]|~$<>&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_HTML = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def to_markdown(report: Report) -> str:
    """Return the report as a Markdown file."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def escaped(text: str, most: int | None = None) -> str:
    """Return a text from outside as Markdown that shows it, on one line. most: characters that are shown."""
    cut = text if most is None or len(text) <= most else text[:most].rstrip() + " …"
    lines = [
        _SPECIAL.sub(lambda found: _HTML.get(found[0], f"\\{found[0]}"), visible(line)) for line in cut.splitlines()
    ]
    return "<br>".join(lines)


def _lines(report: Report) -> Iterator[str]:
    yield from (f"# {escaped(report.title)}", "", escaped(report.summary), "")
    yield from (f"As the database had it on {moment(report.as_of)}.", "")
    if report.notes:
        yield from (*(f"- **Note:** {escaped(note)}" for note in report.notes), "")
    if report.headlines:
        yield from ("## Outcomes", "")
        for told in report.headlines:
            yield from _headline(told)
        yield from ("## What changed", "")
        for told in report.headlines:
            for change in told.changes:
                yield from _change(change)
        yield from ("## Confidence", "")
        for told in report.headlines:
            if tables.calibrated(told):
                yield from _table(tables.calibration(told))
    yield from _retrieval(report)
    yield from ("## Experiments", "")
    for run in report.runs:
        yield from _run(run)


def _headline(told: Headline) -> Iterator[str]:
    yield from (f"### {escaped(tables.asked(told))}", "")
    yield from _table(tables.headline(told))
    for one in told.measured:
        if one.note is not None:
            yield from (f"{escaped(one.label)} ({one.evaluation}): {escaped(one.note)}", "")
    yield from (line for sentence in told.left_out for line in (escaped(sentence), ""))
    for title, grid, _ in tables.groups(told):
        yield from (f"#### {escaped(title)}", "")
        yield from _table(grid)
    more = tables.more_figures(told)
    if more.rows:
        yield from ("#### More figures", "")
        yield from _table(more)


def _change(change: Change) -> Iterator[str]:
    yield from (f"### {escaped(change.before_label)} → {escaped(change.after_label)}", "", tables.changed(change), "")
    yield from _table(tables.matrix(change))
    yield from _table(tables.differences(change))
    if change.note is not None:
        yield from (change.note, "")
    for title, shown, whole in (
        ("Better", change.better_examples, change.better),
        ("Newly hallucinated", change.hallucinated_examples, change.newly_hallucinates),
    ):
        if shown:
            yield from (f"#### {title}: {len(shown):,} of {counted(whole, 'answer')}", "")
            for one in shown:
                yield from _example(one, change)
            yield ""


def _example(one: Example, change: Change) -> Iterator[str]:
    group = f" ({escaped(one.group)})" if one.group is not None else ""
    yield f"- **{escaped(one.question, LONGEST_ANSWER)}**{group}"
    nothing = "none: it has no answer" if one.answerable is False else NOTHING
    yield f"  - accepted: {' | '.join(escaped(answer, LONGEST_ANSWER) for answer in one.accepted) or nothing}"
    yield from _given(change.before_label, one.before)
    yield from _given(change.after_label, one.after)
    if one.sampled is not None:
        scores = ", ".join(f"{escaped(name)} {plain(value)}" for name, value in one.sampled.scores.items())
        said = escaped(one.sampled.response, LONGEST_ANSWER)
        yield f"  - in {one.sampled.experiment}, at step {one.sampled.step:,}: {said} ({scores})"


def _given(label: str, one: Given) -> Iterator[str]:
    told = f"{one.outcome}{tables.confidence(one.confidence)}"
    if cause := tables.cause_of(one):
        told += f"; {cause}"
    if one.wrong_citations:
        told += f"; cites what is not there: {', '.join(map(str, one.wrong_citations))}"
    yield f"  - {escaped(label)}: {escaped(one.text, LONGEST_ANSWER)} — *{told}*"
    for passage in (one.passages or ())[:MOST_PASSAGES]:
        cited = " cited" if passage.cited else ""
        source = " · ".join(escaped(part) for part in (passage.title, passage.document) if part)
        yield f"    - \\[{passage.number}\\]{cited} {source}: {escaped(passage.text, LONGEST_PASSAGE)}"


def _retrieval(report: Report) -> Iterator[str]:
    grids = [tables.indexes(report.runs)]
    for told in report.headlines:
        grids += [tables.retrieval(told), tables.causes(told)]
    if any(grid.rows for grid in grids):
        yield from ("## Retrieval", "")
        for grid in grids:
            yield from _table(grid)


def _run(run: Run) -> Iterator[str]:
    yield from (f"### {escaped(run.name)} ({run.id}), {run.kind}", "")
    yield from (*(f"- {words}: {escaped(told)}" for words, told in tables.facts(run)), "")
    if run.last:
        yield from (
            "- last values: "
            + ", ".join(f"{escaped(name)} {measured(name, value)}" for name, value in run.last.items()),
            "",
        )
    if run.incidents:
        yield from _table(tables.incidents(run))
    if run.attempts:
        yield from _table(tables.attempts(run))
    if run.keys:
        yield from _table(tables.keys(run))


def _table(grid: Grid) -> Iterator[str]:
    if not grid.rows:
        return
    names = list(grid.header)
    at = 1
    for label, columns in grid.spans:
        for place in range(at, at + columns):
            names[place] = f"{names[place]}, {label}"
        at += columns
    yield "| " + " | ".join(escaped(name) for name in names) + " |"
    yield "|---|" + ("---:|" if grid.numeric else "---|") * (len(names) - 1)
    for row in grid.rows:
        yield (
            "| "
            + " | ".join(escaped(f"{cell.text} ({cell.below})" if cell.below else cell.text) for cell in row)
            + " |"
        )
    yield ""
