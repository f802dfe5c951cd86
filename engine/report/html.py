"""The report as one HTML file that holds everything: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.report import tables
from engine.report.bars import bars, legend, shares, small
from engine.report.html_examples import examples
from engine.report.html_runs import run_section
from engine.report.html_tables import drawn
from engine.report.lines import reliability, risk_coverage
from engine.report.markup import Html, joined, tag
from engine.report.records import Change, Headline, Report
from engine.report.wording import counted, moment

_STYLE = Path(__file__).with_name("page.css")
# Nothing but what stands in the file, whatever a text from outside tries.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_HOW_TO_READ = (
    "An answer is correct, abstains, or is hallucinated. The score is correct − hallucinated, from −1 to 1: who always "
    "abstains has 0. Intervals are 95% bootstrap intervals over questions; differences are paired, question by "
    "question, and one whose interval holds no 0 is coloured. McNemar's test asks whether both are equally often "
    "right."
)


def to_html(report: Report) -> str:
    """Return the page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{report.title}: hallucination report"),
        Html(f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>"),
    )
    body = tag("body", joined(_sections(report), Html("\n")))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


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
        yield tag("p", _HOW_TO_READ, class_="soft small")
        yield from map(_headline, report.headlines)
        yield tag("h2", "What changed", id="changes")
        yield joined(_changes(report)) or tag("p", "There are no two evaluations of the same questions to compare.")
        yield tag("h2", "Confidence", id="confidence")
        yield joined(_confidence(report)) or tag("p", "No evaluation at hand tells how sure the model was.")
    if retrieval:
        yield tag("h2", "Retrieval", id="retrieval")
        yield retrieval
    yield tag("h2", "Experiments", id="runs")
    yield from map(run_section, report.runs)


def _headline(told: Headline) -> Html:
    parts = [tag("h3", tables.asked(told))]
    occurring = {name: True for one in told.measured if one.part is not None for name in shares(one.part)}
    if occurring:
        parts += [legend(occurring), tag("div", bars(told), class_="wide bars")]
    parts.append(drawn(tables.headline(told), class_="headline"))
    notes = [f"{one.label} ({one.evaluation}): {one.note}" for one in told.measured if one.note is not None]
    parts += [tag("p", note, class_="soft small") for note in (*notes, *told.left_out)]
    for title, grid, rows in tables.groups(told):
        parts += [tag("h4", title), drawn(grid, extra=[small(part) for part in rows])]
    more = tables.more_figures(told)
    if more.rows:
        parts += [tag("h4", "More figures"), drawn(more, class_="long")]
    return joined(parts)


def _changes(report: Report) -> Iterator[Html]:
    for told in report.headlines:
        for change in told.changes:
            where = f" · {tables.asked(told)}" if len(report.headlines) > 1 else ""
            yield tag("h3", f"{change.before_label} → {change.after_label}{where}")
            yield from _change(change)


def _change(change: Change) -> Iterator[Html]:
    yield tag("p", tables.changed(change))
    yield tag(
        "div",
        drawn(tables.matrix(change), class_="matrix", heat=change.paired),
        drawn(tables.differences(change)),
        class_="pair",
    )
    if change.note is not None:
        yield tag("p", change.note, class_="soft small")
    for title, shown, whole in (
        ("Better", change.better_examples, change.better),
        ("Newly hallucinated", change.hallucinated_examples, change.newly_hallucinates),
    ):
        if shown:
            yield tag("h4", f"{title}: {len(shown):,} of {counted(whole, 'answer')}")
            yield examples(shown, change)


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
