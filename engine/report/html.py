"""The report as one HTML file that holds everything: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report import tables
from engine.report.document import document
from engine.report.html_outcomes import HOW_TO_READ, change_parts, outcomes
from engine.report.html_runs import run_section
from engine.report.html_tables import drawn
from engine.report.lines import reliability, risk_coverage
from engine.report.markup import Html, joined, tag
from engine.report.records import Report
from engine.report.wording import moment


def to_html(report: Report) -> str:
    """Return the page."""
    return document(f"{report.title}: hallucination report", _sections(report))


def _sections(report: Report) -> Iterator[Html]:
    yield tag("h1", report.title)
    yield tag("p", report.summary, class_="lead")
    yield tag("p", f"As the database had it on {moment(report.as_of)}.", class_="soft small")
    if report.notes:
        yield tag("div", tag("ul", *(tag("li", note) for note in report.notes)), class_="notes")
    links = [("outcomes", "Outcomes"), ("changes", "What changed"), ("confidence", "Confidence")]
    links = [*(links if report.headlines else []), ("retrieval", "Retrieval"), ("runs", "Experiments")]
    retrieval = joined(_retrieval(report))
    links = [link for link in links if link[0] != "retrieval" or retrieval]
    yield tag("nav", joined((tag("a", words, href=f"#{place}") for place, words in links), " "))
    if report.headlines:
        yield tag("h2", "Outcomes", id="outcomes")
        yield tag("p", HOW_TO_READ, class_="soft small")
        yield from map(outcomes, report.headlines)
        yield tag("h2", "What changed", id="changes")
        yield joined(_changes(report)) or tag("p", "There are no two evaluations of the same questions to compare.")
        yield tag("h2", "Confidence", id="confidence")
        yield joined(_confidence(report)) or tag("p", "No evaluation at hand tells how sure the model was.")
    if retrieval:
        yield tag("h2", "Retrieval", id="retrieval")
        yield retrieval
    yield tag("h2", "Experiments", id="runs")
    yield from map(run_section, report.runs)


def _changes(report: Report) -> Iterator[Html]:
    for told in report.headlines:
        for change in told.changes:
            where = f" · {tables.asked(told)}" if len(report.headlines) > 1 else ""
            yield tag("h3", f"{change.before_label} → {change.after_label}{where}")
            yield from change_parts(change)


def _confidence(report: Report) -> Iterator[Html]:
    for told in report.headlines:
        found = tables.calibrated(told)
        if found:
            yield tag("h3", tables.asked(told))
            yield tag(
                "p",
                "Of the answers that do not abstain: how sure the model is, against how often it is right. On the "
                "dashed line it is as sure as it is right; above it it is too modest, below it too sure. Larger dots "
                "are more answers. Risk against coverage: what share is wrong if only the surest answers are given.",
                class_="soft small",
            )
            diagrams = [reliability(label, one, place) for place, (label, one) in enumerate(found.items())]
            yield tag("div", risk_coverage(found), *diagrams, class_="charts diagrams")
            yield drawn(tables.calibration(told))


def _retrieval(report: Report) -> Iterator[Html]:
    index = tables.indexes(report.runs)
    if index.rows:
        yield joined([tag("h3", "Indexes"), drawn(index)])
    for told in report.headlines:
        split, why = tables.retrieval(told), tables.causes(told)
        if split.rows:
            yield joined([tag("h3", "Where the search found what is needed, and where not"), drawn(split)])
        if why.rows:
            yield joined([tag("h3", f"Why answers failed: {tables.asked(told)}"), drawn(why)])
