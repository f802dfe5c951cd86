"""Answers to the same prompt side by side: what differs by words, and what no passage supports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

from engine.report.comparing.records import Answer, Comparison, Prompted
from engine.report.comparing.words import Span, changed
from engine.report.markup import Html, joined, prose, tag
from engine.report.wording import counted, plain

_LONGEST, _LONGEST_PASSAGE = 2_400, 700  # characters that are shown
_MOST_SCORES = 5
_OUTCOMES = ("correct", "abstained", "hallucinated")


def prompts(told: Comparison) -> Iterator[Html]:
    """Yield the prompts, a card each."""
    if not told.prompts:
        return
    left = told.asked - len(told.prompts)
    first = "; those that became worse come first" if told.regressions else ""
    shown = f"{len(told.prompts)} of {counted(told.asked, 'prompt')}" if left else counted(told.asked, "prompt")
    most = max(len(each.answers) for each in told.prompts)
    signs = []
    if most > 1:
        signs.append("Underlined is what " + ("only one of the two has" if most == 2 else "A's answer does not have"))
    if any(one.said.marks for each in told.prompts for one in each.answers):
        signs.append("What stands in {…} no passage supports: a hint by its words, unless an evaluation judged it")
    yield tag("p", f"{shown}{first}. " + "".join(f"{sign}. " for sign in signs), class_="soft small")
    yield from (_card(told, one) for one in told.prompts)


def _card(told: Comparison, one: Prompted) -> Html:
    said = one.first
    parts: list[Html] = [tag("div", prose(said.question or said.prompt, _LONGEST), class_="question")]
    if said.reference:
        parts.append(tag("div", "accepted: ", prose(said.reference, _LONGEST), class_="soft small"))
    if said.passages:
        inside = [tag("div", prose(text, _LONGEST_PASSAGE), class_="passage") for text in said.passages]
        parts.append(tag("details", tag("summary", counted(len(said.passages), "passage")), *inside))
    parts.append(tag("div", *(_answer(told, one, answer) for answer in one.answers), class_="sides"))
    return tag("div", *parts, class_="example")


def _answer(told: Comparison, one: Prompted, answer: Answer) -> Html:
    side, said = told.sides[answer.place], answer.said
    alone = len(told.sides) == 1
    key = tag("i", class_=f"key k{side.place}")
    who = f"step {answer.step:,}" if alone else f"{side.run.id} · step {answer.step:,}"
    head: list[Html | str | None] = [None if alone else joined([key, tag("b", side.letter), " "]), who]
    if said.outcome is not None:
        head += [" ", tag("span", said.outcome, class_=f"chip {said.outcome}")]
    differing: list[Span] = []
    if answer is not one.answers[0]:
        differing = changed(one.first.response, said.response)[1]
    elif len(one.answers) == 2:
        differing = changed(said.response, one.answers[1].said.response)[0]
    shown = [(name, value) for name, value in said.scores.items() if name not in _OUTCOMES][:_MOST_SCORES]
    figures = " · ".join(f"{name} {plain(value)}" for name, value in shown)
    return tag(
        "div",
        tag("div", *head, class_="who"),
        tag("div", figures, class_="soft small") if figures else None,
        tag("p", marked(said.response, said.marks, differing)),
    )


def marked(text: str, weak: Iterable[Span], differing: Iterable[Span]) -> Html:
    """Return a text with its marks; of a long one the beginning."""
    if not text.strip():
        return tag("span", "(nothing)", class_="soft")
    weak, differing = list(weak), list(differing)
    whole = min(len(text), _LONGEST)
    cuts = sorted({0, whole, *(place for span in (*weak, *differing) for place in span if place < whole)})
    parts: list[Html | None] = []
    for start, end in pairwise(cuts):
        within = _within(start, weak)
        parts.append(tag("i", "{", class_="brace") if any(begin == start for begin, _ in weak) else None)
        piece = prose(text[start:end])
        piece = tag("ins", piece) if _within(start, differing) else piece
        parts.append(tag("span", piece, class_="weak") if within else piece)
        parts.append(tag("i", "}", class_="brace") if any(min(stop, whole) == end for _, stop in weak) else None)
    return joined([*parts, " …" if whole < len(text) else None])


def _within(place: int, spans: Iterable[Span]) -> bool:
    return any(start <= place < end for start, end in spans)
