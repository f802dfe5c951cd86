"""How spans of a text are packed into chunks of at most so many tokens."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from engine.rag.chunks.marks import Marks
from engine.rag.chunks.paragraphs import Span

# From a span in places of the text to the spans it falls into.
Splitter = Callable[[int, int], Iterator[Span]]


def units(span: Span, marks: Marks, tokens: int, splitters: Sequence[Splitter]) -> list[list[Span]]:
    """Return the largest parts of a span that have at most so many tokens, by those that the first splitter makes.

    Each splitter cuts what the one before it left too long. What the last one leaves is given as it is.
    """
    if marks.count(*span) <= tokens:
        return [[span]]
    return [list(_fitting(part, marks, tokens, splitters[1:])) for part in splitters[0](*span)]


def _fitting(span: Span, marks: Marks, tokens: int, splitters: Sequence[Splitter]) -> Iterator[Span]:
    if not splitters or marks.count(*span) <= tokens:
        yield span
        return
    for part in splitters[0](*span):
        yield from _fitting(part, marks, tokens, splitters[1:])


def pack(groups: Iterable[Sequence[Span]], marks: Marks, tokens: int, overlap: int, *, even: bool) -> list[Span]:
    """Return spans of as many whole parts as have at most so many tokens, each from the next part on, or before.

    Where the end would cut a group of parts, it is before the group, if half of the tokens are reached there.
    Neighbours share the most whole parts that have at most `overlap` tokens. A part with more than `tokens` stands
    alone.

    even: divide the last two anew, near the middle, where the last has little that is its own.
    """
    return _Packing(groups, marks, tokens, overlap).spans(even=even)


class _Packing:
    """Runs [first, end) of numbered parts."""

    def __init__(self, groups: Iterable[Sequence[Span]], marks: Marks, tokens: int, overlap: int) -> None:
        self._parts: list[Span] = []
        self._begins: list[int] = []  # the part with which the group of each part begins
        for group in groups:
            self._begins += [len(self._parts)] * len(group)
            self._parts += group
        self._tokens = tokens
        self._overlap = overlap
        # Tokens of the text before the beginning and the end of each part.
        self._before = [bisect_left(marks.places, start) for start, _ in self._parts]
        self._behind = [bisect_left(marks.places, end) for _, end in self._parts]

    def spans(self, *, even: bool) -> list[Span]:
        runs: list[tuple[int, int]] = []
        first = end = 0
        while end < len(self._parts):
            end = self._end(first, end + 1)
            runs.append((first, end))
            first = self._next(first, end, end + 1)
        if even and len(runs) > 1:
            runs[-2:] = self._evened(runs[-3][1] if len(runs) > 2 else 0, *runs[-2:])
        return [(self._parts[first][0], self._parts[end - 1][1]) for first, end in runs]

    def _end(self, first: int, least: int) -> int:
        """Return the end, `least` or behind it, of the run that begins with a part."""
        end = max(least, bisect_right(self._behind, self._before[first] + self._tokens))
        begin = self._begins[end] if end < len(self._parts) else end
        if begin >= least and 2 * (self._behind[begin - 1] - self._before[first]) >= self._tokens:
            return begin
        return end

    def _next(self, first: int, end: int, reach: int) -> int:
        """Return the part with which the run after [first, end) begins, so that it has room for all before `reach`."""
        if not self._overlap or end == len(self._parts):
            return end
        shared = self._behind[end - 1] - self._overlap
        room = self._behind[reach - 1] - self._tokens
        return bisect_left(self._before, max(shared, room), first + 1, end)

    def _evened(self, covered: int, last_but_one: tuple[int, int], last: tuple[int, int]) -> list[tuple[int, int]]:
        """Return the last two runs, divided anew. covered: the parts that earlier runs have, which is no progress."""
        first, middle = last_but_one
        total = len(self._parts)
        if self._behind[-1] - self._behind[middle - 1] >= self._tokens // 4:
            return [last_but_one, last]

        def difference(end: int) -> int:
            return abs(self._behind[end - 1] - self._before[first] - (self._behind[-1] - self._before[end]))

        lowest = max(first, covered) + 1
        fitting = [end for end in range(lowest, middle + 1) if self._behind[-1] - self._before[end] <= self._tokens]
        if not fitting:
            return [last_but_one, last]
        end = min(fitting, key=difference)
        return [(first, end), (self._next(first, end, total), total)]
