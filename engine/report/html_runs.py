"""Each experiment: how it ran, what it came from, its curves and its spec."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report import tables
from engine.report.html_tables import drawn
from engine.report.lines import curves
from engine.report.markup import Html, joined, prose, tag
from engine.report.records import Run


def run_section(run: Run, *, bare: bool = False) -> Html:
    """Return the section of an experiment. bare: without its curves and last values, which stand elsewhere."""
    return tag("section", joined(_parts(run, bare)), id=run.id, class_="run")


def _parts(run: Run, bare: bool) -> Iterator[Html]:
    name = f"{run.name} " if run.name != run.id else ""
    yield tag(
        "h3", f"{name}({run.id})", tag("span", f" {run.kind}, {run.state}", class_=f"soft small state-{run.state}")
    )
    pairs = [tag("dt", words) + tag("dd", prose(told)) for words, told in tables.facts(run)]
    yield tag("dl", *map(Html, pairs), class_="facts")
    if not bare:
        yield from run_curves(run)
        if last := tables.last_metrics(run):
            yield tag("p", "Last values: " + ", ".join(f"{name} {value}" for name, value in last) + ".", class_="small")
    if run.incidents:
        left = f" (the last {len(run.incidents)}; {run.incidents_left_out} earlier ones are left out)"
        yield tag("h4", "Findings" + (left if run.incidents_left_out else ""))
        yield drawn(tables.incidents(run))
    if run.attempts:
        yield drawn(tables.attempts(run))
    if run.keys:
        against = f", and what differs from {run.against}" if run.against is not None else ""
        yield tag("h4", f"Spec: what is not at its default{against}")
        yield drawn(tables.keys(run), class_="keys")
    yield tag("details", tag("summary", "the whole spec"), tag("pre", _preformatted(run.spec)))


def run_curves(run: Run) -> Iterator[Html]:
    """Yield its curves: the leading ones, what their signs mean, and the others folded."""
    leading = [chart for chart in run.charts if chart.leading]
    others = [chart for chart in run.charts if not chart.leading]
    if leading:
        yield curves(leading, run.marks)
    signs = []
    if any(line.lost for chart in run.charts for line in chart.lines):
        signs.append("a red cross is no finite number")
    if run.marks:
        signs.append("a dashed line is a " + " or ".join(sorted({what for _, what in run.marks})))
    if any(line.smoothed is not None for chart in run.charts for line in chart.lines):
        signs.append("what is faint was measured, what is strong is smoothed")
    if signs:
        yield tag("p", f"In the curves {'; '.join(signs)}.", class_="soft small")
    if others:
        yield tag("details", tag("summary", f"{len(others)} more curves"), curves(others, run.marks))


def _preformatted(text: str) -> Html:
    return Html("\n".join(joined([line]) for line in text.splitlines()))
