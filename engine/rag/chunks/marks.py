"""Where the tokens of texts begin."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import regex

from engine.rag.chunks.paragraphs import Span, visible
from engine.rag.chunks.tokens import TokenCounter

# Characters that the tokenizer is given at once: enough to keep it busy, and its tokens take some 100 MB.
AT_ONCE = 1 << 19
# Longest stretch of a text that is tokenised in one: a book in one piece would take gigabytes, and one core.
PIECE = 1 << 14
# A longer token is a word that the tokenizer does not know, or a stretch in which it sees nothing, and no measure of
# its length: it counts as one token for so many characters, as common words have.
_LONGEST_TOKEN = 100
_CHARACTERS_PER_TOKEN = 4

_SPACE = regex.compile(r"(?r)\s")
_NO_SPACE = regex.compile(r"\S")

Stretch = tuple[int, int, int]  # number of the text, start, end


@dataclass(frozen=True, slots=True)
class Marks:
    """Where the tokens of a text begin."""

    places: Sequence[int]  # ascending; as often as tokens begin there

    def count(self, start: int, end: int) -> int:
        """Return how many tokens begin in [start, end)."""
        return bisect_left(self.places, end) - bisect_left(self.places, start)

    def within(self, start: int, end: int) -> Sequence[int]:
        """Return the places in (start, end) where tokens begin."""
        return self.places[bisect_right(self.places, start) : bisect_left(self.places, end)]


def marks_of(texts: Sequence[str], counter: TokenCounter) -> list[Marks]:
    """Return where the tokens of each text begin."""
    places: list[list[int]] = [[] for _ in texts]
    pieces = [(number, *span) for number, text in enumerate(texts) for span in _pieces(text)]
    for (number, start, _), spans in zip(pieces, tokens_of(texts, pieces, counter), strict=True):
        text = texts[number]
        # Unicode's normal forms may swap marks above and below a letter, and so their tokens.
        found = sorted(start + first for first, last in spans if first < last)
        # Some tokenizers give a word the space before it.
        places[number] += [_after_space(text, place) if text[place].isspace() else place for place in found]
    return [Marks(_bounded(text, found)) for text, found in zip(texts, places, strict=True)]


def tokens_of(texts: Sequence[str], stretches: Iterable[Stretch], counter: TokenCounter) -> Iterator[list[Span]]:
    """Yield the tokens of stretches, given as number of the text, start and end; a bounded number of them at once."""
    batch: list[str] = []
    size = 0
    for number, start, end in stretches:
        batch.append(texts[number][start:end])
        size += end - start
        if size >= AT_ONCE:
            yield from counter.spans(batch)
            batch, size = [], 0
    if batch:
        yield from counter.spans(batch)


def _pieces(text: str) -> Iterator[Span]:
    """Yield stretches of a text, cut at white space where there is some."""
    start = 0
    while len(text) - start > PIECE:
        space = _SPACE.search(text, start + PIECE // 2, start + PIECE)
        end = space.start() if space else start + PIECE
        yield start, end
        start = end
    yield start, len(text)


def _after_space(text: str, place: int) -> int:
    match = _NO_SPACE.search(text, place)
    return match.start() if match else place


def _bounded(text: str, places: list[int]) -> list[int]:
    """Return places where tokens begin, with more of them in what is long and has none."""
    shown = visible(text, 0, len(text))
    if shown is None:
        return []
    if not places or shown[0] < places[0]:
        places.insert(0, shown[0])
    bounded: list[int] = []
    for place, following in pairwise((*places, shown[1])):
        if following - place > _LONGEST_TOKEN:
            bounded += range(place, following, _CHARACTERS_PER_TOKEN)
        else:
            bounded.append(place)
    return bounded
