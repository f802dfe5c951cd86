"""What a text falls into, from the large to the small: blocks, lines, sentences, words, and what is left of words.

Every function takes a part [start, end) of a text and yields spans in order, without the white space around them,
that leave out nothing but white space.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

import regex

from engine.data.sentences import sentences
from engine.rag.chunks.tokens import UNSPACED

Span = tuple[int, int]  # characters [start, end) of the document's text

_FENCE = regex.compile(r"[ \t]{0,3}(```+|~~~+)")
_ITEM = regex.compile(r"[ \t]*(?:[-*+•‣◦]|\(?(?:[0-9]{1,4}|[a-zA-Z])[.)])[ \t]+\S")
_ROW_OR_CODE = regex.compile(r"[ \t]*\||\t| {4}")
_WORDS = regex.compile(rf"(?V1)[{UNSPACED}][\p{{M}}\p{{Pe}}\p{{Pf}}、。，．！？；：]*|[\S--[{UNSPACED}]]+")
_UNSPACED = regex.compile(rf"[{UNSPACED}]")
_GRAPHEME = regex.compile(r"\X")
_VISIBLE = regex.compile(r"(?V1)[^\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]")
_LAST_VISIBLE = regex.compile(r"(?V1)(?r)[^\s\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]")


def visible(text: str, start: int, end: int) -> Span | None:
    """Return from the first to the last character that shows; None if none does.

    White space, control characters and marks without a shape (zero-width space, byte order mark) do not show.
    """
    first = _VISIBLE.search(text, start, end)
    if first is None:
        return None
    last = _LAST_VISIBLE.search(text, first.start(), end)
    # What shapes the last character stays with it.
    return first.start(), _GRAPHEME.match(text, last.start(), end).end()


def blocks(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the blocks: paragraphs, tables, lists with all their items, and fenced code with its blank lines."""
    joined: Span | None = None
    is_list = False
    for block in _between_blank_lines(text, start, end):
        line = max(text.rfind("\n", start, block[0]) + 1, start)
        is_item = bool(_ITEM.match(text, line, block[1]))
        if joined and is_list and (is_item or block[0] - line >= 2):  # the next item, or more of one
            joined = (joined[0], block[1])
            continue
        if joined:
            yield joined
        joined, is_list = block, is_item
    if joined:
        yield joined


def lines(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the items, rows and lines of code of a block; lines of prose run on, for writers and PDFs wrap them."""
    is_code = bool(_FENCE.match(text, max(text.rfind("\n", 0, start) + 1, 0), end))
    begin = start
    for line, stop in _lines(text, start, end):
        if line > begin and (is_code or _ITEM.match(text, line, stop) or _ROW_OR_CODE.match(text, line, stop)):
            yield from _trimmed(text, begin, line)
            begin = line
    yield from _trimmed(text, begin, end)


def sentence_spans(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the sentences. A blank line ends one, a single line break does not."""
    for begin, stop in _between_blank_lines(text, start, end):
        for first, last in sentences(text[begin:stop].replace("\n", " ")):
            yield begin + first, begin + last


def words(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield what stands between white space; where a script puts none, its characters with the marks after them."""
    for match in _WORDS.finditer(text, start, end):
        yield match.span()


def pieces(text: str, start: int, end: int, places: Sequence[int]) -> Iterator[Span]:
    """Yield what lies between those of the ascending places that are not between two letters or digits."""
    return _cut(start, end, (place for place in places if not _is_within_word(text, place)))


def graphemes(text: str, start: int, end: int, places: Sequence[int]) -> Iterator[Span]:
    """Yield what lies between those of the ascending places that are not within what a reader takes for a character."""
    borders = {match.start() for match in _GRAPHEME.finditer(text, start, end)}
    return _cut(start, end, (place for place in places if place in borders))


def characters(text: str, start: int, end: int, places: Sequence[int]) -> Iterator[Span]:
    """Yield what lies between the ascending places."""
    return _cut(start, end, iter(places))


def _cut(start: int, end: int, places: Iterator[int]) -> Iterator[Span]:
    for place in places:
        if start < place < end:
            yield start, place
            start = place
    if start < end:
        yield start, end


def _is_within_word(text: str, place: int) -> bool:
    before, after = text[place - 1], text[place]
    if unicodedata.category(after)[0] == "M" or "\u200d" in (before, after) or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True  # a mark, a joiner, a colour of skin: part of the character before
    if not (after.isalnum() and (before.isalnum() or unicodedata.category(before)[0] == "M")):
        return False
    return not (_UNSPACED.match(before) or _UNSPACED.match(after))


def _between_blank_lines(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield what stands between blank lines. A fence hides its own; one that never closes reaches to the end."""
    fence = ""
    begin = start
    for line, stop in _lines(text, start, end):
        marks = _FENCE.match(text, line, stop)
        if fence:
            fence = "" if marks and marks[1].startswith(fence) else fence
        elif marks:
            fence = marks[1]
        elif not text[line:stop].strip():
            yield from _trimmed(text, begin, line)
            begin = stop
    yield from _trimmed(text, begin, end)


def _lines(text: str, start: int, end: int) -> Iterator[Span]:
    while start < end:
        stop = text.find("\n", start, end) + 1 or end
        yield start, stop
        start = stop


def _trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    part = text[start:end]
    begin = start + len(part) - len(part.lstrip())
    stop = start + len(part.rstrip())
    if begin < stop:
        yield begin, stop
