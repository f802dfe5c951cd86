"""What evaluations measured, and what changed between two of them, as HTML."""

from __future__ import annotations

from collections.abc import Iterator

from engine.report import tables
from engine.report.bars import bars, legend, shares, small
from engine.report.html_examples import examples
from engine.report.html_tables import drawn
from engine.report.markup import Html, joined, tag
from engine.report.records import Change, Headline
from engine.report.wording import counted

HOW_TO_READ = (
    "An answer is correct, abstains, or is hallucinated. The score is correct − hallucinated, from −1 to 1: who always "
    "abstains has 0. Intervals are 95% bootstrap intervals over questions; differences are paired, question by "
    "question, and one whose interval holds no 0 is coloured. McNemar's test asks whether both are equally often "
    "right."
)


def outcomes(told: Headline) -> Html:
    """Return the outcomes of evaluations that asked the same: bars, and the tables of their figures."""
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


def change_parts(change: Change) -> Iterator[Html]:
    """Yield what changed from one evaluation to another, and examples of it."""
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
