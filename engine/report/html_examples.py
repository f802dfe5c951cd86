"""Answers to read, before and after, with what they had and what they were rewarded with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.report.markup import Html, joined, prose, tag
from engine.report.records import Change, Example, Given, Passage
from engine.report.tables import cause_of, confidence
from engine.report.wording import NOTHING, plain

LONGEST_ANSWER, LONGEST_PASSAGE, MOST_PASSAGES = 1200, 700, 5


def examples(shown: Sequence[Example], change: Change) -> Html:
    """Return examples of what changed."""
    return joined(_example(one, change) for one in shown)


def _example(one: Example, change: Change) -> Html:
    pairs = [
        ("accepted", _accepted(one)),
        (change.before_label, _given(one.before)),
        (change.after_label, _given(one.after)),
    ]
    if one.sampled is not None:
        scores = ", ".join(f"{name} {plain(value)}" for name, value in one.sampled.scores.items())
        said = joined([prose(one.sampled.response, LONGEST_ANSWER), tag("div", scores, class_="soft small")])
        pairs.append((f"in {one.sampled.experiment}, at step {one.sampled.step:,}", said))
    told = [tag("dt", words) + tag("dd", inside) for words, inside in pairs]
    group = tag("span", f" {one.group}", class_="soft small") if one.group is not None else None
    return tag(
        "div",
        tag("div", prose(one.question, LONGEST_ANSWER), group, class_="question"),
        tag("dl", *map(Html, told)),
        class_="example",
    )


def _accepted(one: Example) -> Html:
    if one.accepted:
        return joined((prose(answer, LONGEST_ANSWER) for answer in one.accepted), " | ")
    return tag("span", "none: it has no answer" if one.answerable is False else NOTHING, class_="soft")


def _given(one: Given) -> Html:
    chip = tag("span", one.outcome, class_=f"chip {one.outcome}")
    aside = confidence(one.confidence).removeprefix(", ")
    cause = cause_of(one)
    told = "; ".join(part for part in (aside, cause) if part)
    parts: list[str | None] = [prose(one.text, LONGEST_ANSWER), " ", chip, tag("span", f" {told}", class_="soft small")]
    if one.wrong_citations:
        numbers = ", ".join(f"[{number}]" for number in one.wrong_citations)
        parts.append(tag("div", f"cites what is not there: {numbers}", class_="soft small"))
    if one.passages is not None:
        parts += _passages(one.passages)
    return joined(parts)


def _passages(passages: Sequence[Passage]) -> Iterator[Html]:
    for one in passages[:MOST_PASSAGES]:
        mark = f"[{one.number}]" + (" cited" if one.cited else "")
        source = " · ".join(part for part in (one.title, one.document) if part)
        head = tag("span", f"{mark} {source}", class_="soft small")
        yield tag(
            "div", head, " ", prose(one.text, LONGEST_PASSAGE), class_="passage cited" if one.cited else "passage"
        )
    if len(passages) > MOST_PASSAGES:
        yield tag("div", f"and {len(passages) - MOST_PASSAGES} more passages", class_="soft small")
    if not passages:
        yield tag("div", "it had no passage", class_="soft small")
