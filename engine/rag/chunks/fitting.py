"""Chunks counted again, as texts of their own, and cut where they have too many tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine.rag.chunks import paragraphs
from engine.rag.chunks.marks import tokens_of
from engine.rag.chunks.paragraphs import Span, visible
from engine.rag.chunks.tokens import TokenCounter


def excess_of(
    texts: Sequence[str], plans: Mapping[int, Sequence[Span]], counter: TokenCounter, tokens: int
) -> dict[int, list[int]]:
    """Return by how many tokens chunks are too large, of those texts where some are."""
    excess: dict[int, list[int]] = {}
    places = [(number, *span) for number, plan in plans.items() for span in plan]
    for (number, _, _), found in zip(places, tokens_of(texts, places, counter), strict=True):
        if len(found) > tokens:
            excess.setdefault(number, []).append(len(found) - tokens)
    return excess


def halved(
    texts: Sequence[str], plans: Mapping[int, Sequence[Span]], counter: TokenCounter, tokens: int
) -> dict[int, list[Span]]:
    """Return plans in which chunks with too many tokens are halved, again and again."""
    fitting: dict[int, list[Span]] = {number: [] for number in plans}
    places = [(number, *span) for number, plan in plans.items() for span in plan]
    while places:
        halves = []
        for (number, start, end), found in zip(places, tokens_of(texts, places, counter), strict=True):
            middle = _middle(texts[number], start, end, found) if len(found) > tokens else None
            if middle is None:
                fitting[number].append((start, end))
            else:
                parts = (visible(texts[number], start, middle), visible(texts[number], middle, end))
                halves += [(number, *part) for part in parts if part]
        places = halves
    return {number: list(_without_covered(plan)) for number, plan in fitting.items()}


def _middle(text: str, start: int, end: int, tokens: Sequence[Span]) -> int | None:
    """Return where to halve a chunk of so many tokens: before a word if it has several. None: it is one character."""
    middle = start + tokens[len(tokens) // 2][0]
    firsts = [first for first, _ in paragraphs.words(text, start, end)][1:]
    if firsts:
        return min(firsts, key=lambda place: abs(place - middle))
    if not start < middle < end:
        middle = (start + end) // 2
    return middle if start < middle < end else None


def _without_covered(plan: Iterable[Span]) -> Iterator[Span]:
    """Yield spans in order, without those within one before: halves that a neighbour shares."""
    covered = 0
    for start, end in sorted(plan, key=lambda span: (span[0], -span[1])):
        if end > covered:
            yield start, end
            covered = end
