"""One experiment, or several side by side, as one HTML file that holds everything."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.report.comparing.finals import finals
from engine.report.comparing.overlay import overlay, paths
from engine.report.comparing.prompts_html import prompts
from engine.report.comparing.records import Comparison, Side
from engine.report.document import document
from engine.report.html_outcomes import HOW_TO_READ, change_parts, outcomes
from engine.report.html_runs import run_curves, run_section
from engine.report.html_tables import drawn
from engine.report.markup import Html, joined, prose, tag
from engine.report.tables import Cell, Grid
from engine.report.wording import NOTHING, counted, lasted, moment, value_text

WIDE_FROM = 3  # experiments


def to_html(told: Comparison) -> str:
    """Return the page."""
    return document(_title(told), _sections(told), wide=len(told.sides) >= WIDE_FROM)


def _title(told: Comparison) -> str:
    first, *others = (side.run.id for side in told.sides)
    if not others:
        run = told.sides[0].run
        return run.id if run.name in ("", run.id) else f"{run.id} · {run.name}"
    return f"{first} and {others[0]}" if len(others) == 1 else f"{first} and {len(others)} others"


def _sections(told: Comparison) -> Iterator[Html]:
    """Yield heading, links and sections."""
    parts = [(key, words, joined(made)) for key, words, made in _parts(told)]
    shown = [(key, words, made) for key, words, made in parts if made]
    yield tag("h1", _title(told))
    yield tag("p", _lead(told), class_="lead")
    yield tag("p", f"As the database had it on {moment(told.as_of)}.", class_="soft small")
    if told.notes:
        yield tag("div", tag("ul", *(tag("li", note) for note in told.notes)), class_="notes")
    if len(told.sides) > 1:
        yield _legend(told)
    yield tag("nav", joined((tag("a", words, href=f"#{key}") for key, words, _ in shown), " "))
    for key, words, made in shown:
        yield tag("h2", words, id=key)
        yield made


def _parts(told: Comparison) -> Iterator[tuple[str, str, Iterator[Html]]]:
    several = len(told.sides) > 1
    if several:
        yield "overview", "Overview", _overview(told)
    yield "health", "Health", _health(told)
    yield "curves", "Curves", overlay(told) if several else run_curves(told.sides[0].run)
    yield "tradeoff", "Score against KL", paths(told)
    if several:
        yield "spec", "Spec", _spec(told)
    yield "metrics", "Last values", iter((finals([side.run for side in told.sides]),))
    yield "outcomes", "Hallucination", _outcomes(told)
    yield "samples", "Samples", prompts(told)
    yield "runs", "Experiments" if several else "Experiment", (run_section(side.run, bare=True) for side in told.sides)


def _lead(told: Comparison) -> str:
    """Return what there is to say in a sentence or two."""
    if len(told.sides) == 1:
        run = told.sides[0].run
        words = f"{run.kind}, {run.state}, step {run.step:,}"
        words += f" of {run.total_steps:,}" if run.total_steps else ""
        return f"{words}: {run.reason}" if run.reason else f"{words}."
    sentences = [f"{len(told.differing)} of {counted(told.keys, 'key')} of the specs differ."]
    if told.asked:
        worse = f", {told.regressions:,} of them answered worse than by A" if told.regressions else ""
        sentences.append(f"{counted(told.asked, 'prompt')} in common{worse}.")
    return " ".join(sentences)


def _legend(told: Comparison) -> Html:
    return tag("p", *(_named(side) for side in told.sides), class_="legend")


def _named(side: Side) -> Html:
    return tag("span", tag("i", class_=f"key k{side.place}"), tag("b", side.letter), f" {side.run.id}")


def _overview(told: Comparison) -> Iterator[Html]:
    header = ("experiment", "name", "kind", "state", "step", "took", "cloned from", "tags", "note")
    rows = [tag("tr", *(tag("th", words, scope="col") for words in header))]
    body = []
    for side in told.sides:
        run = side.run
        step = f"{run.step:,} / {run.total_steps:,}" if run.total_steps else f"{run.step:,}"
        label = joined([tag("i", class_=f"key k{side.place}"), tag("b", side.letter), " "])
        told_of = (
            run.name if run.name != run.id else "",
            run.kind,
            run.state,
            step,
            lasted(run.started_at, run.ended_at),
            side.parent or "",
            " ".join(side.tags),
            run.note or "",
        )
        link = tag("a", run.id, href=f"#{run.id}")
        cells = [
            tag("td", prose(text), class_=_state(run.state) if at == 2 else None) for at, text in enumerate(told_of)
        ]
        body.append(tag("tr", tag("th", label, link, scope="row", class_="named"), *cells))
    yield tag("div", tag("table", tag("thead", *rows), tag("tbody", *body), class_="full"), class_="wide")


def _state(state: str) -> str:
    return f"state-{state}"


def _health(told: Comparison) -> Iterator[Html]:
    rows = tuple(
        (
            Cell(_place(told, side)),
            Cell(verdict.level, tone="worse" if verdict.level == "error" else ""),
            Cell(NOTHING if verdict.step is None else f"{verdict.step:,}"),
            Cell(verdict.sentence),
        )
        for side in told.sides
        for verdict in side.verdicts
    )
    if rows:
        yield drawn(Grid(("experiment", "level", "since step", "what is wrong"), rows, numeric=False), class_="full")
    sound = [_place(told, side) for side in told.sides if not side.verdicts]
    if sound:
        whom = f" with {', '.join(sound)}" if rows or len(told.sides) > 1 else ""
        yield tag("p", f"The rules of health find nothing wrong{whom}.", class_="soft")


def _place(told: Comparison, side: Side) -> str:
    return f"{side.letter} {side.run.id}" if len(told.sides) > 1 else side.run.id


def _spec(told: Comparison) -> Iterator[Html]:
    if not told.differing:
        yield tag("p", "The specs are equal.")
        return
    rows = tuple(
        (Cell(row.key), *(Cell(value_text(value), tone=_tone(row.values, at)) for at, value in enumerate(row.values)))
        for row in told.differing
    )
    header = ("key", *(f"{side.letter} {side.run.id}" for side in told.sides))
    yield drawn(Grid(header, rows, numeric=False), class_="keys")
    yield tag("p", "Bold is what differs from A. A key that a kind does not have is –.", class_="soft small")


def _tone(values: Sequence[object], place: int) -> str:
    return "differs" if place and values[place] != values[0] else ""


def _outcomes(told: Comparison) -> Iterator[Html]:
    if not told.headlines:
        return
    yield tag("p", HOW_TO_READ, class_="soft small")
    for headline in told.headlines:
        yield outcomes(headline)
        for change in headline.changes:
            yield tag("h3", f"{change.before_label} → {change.after_label}")
            yield from change_parts(change)
