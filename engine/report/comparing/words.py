"""What differs between two texts, word by word."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

Span = tuple[int, int]  # of characters of a text: from, before
_PIECES = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]|\s+")
_MOST = 3_000  # words; of longer texts all words differ: it would take seconds


def changed(before: str, after: str) -> tuple[list[Span], list[Span]]:
    """Return the spans of each text that the other one does not have, in order; spaces alone never differ."""
    old, new = list(_PIECES.finditer(before)), list(_PIECES.finditer(after))
    old, new = ([piece for piece in pieces if not piece[0].isspace()] for pieces in (old, new))
    if len(old) > _MOST or len(new) > _MOST:
        return [] if before == after else _whole(before), [] if before == after else _whole(after)
    matcher = SequenceMatcher(None, [piece[0] for piece in old], [piece[0] for piece in new], autojunk=False)
    lost: list[Span] = []
    gained: list[Span] = []
    for what, start, end, other_start, other_end in matcher.get_opcodes():
        if what != "equal":
            if end > start:
                lost.append((old[start].start(), old[end - 1].end()))
            if other_end > other_start:
                gained.append((new[other_start].start(), new[other_end - 1].end()))
    return lost, gained


def _whole(text: str) -> list[Span]:
    return [(0, len(text))] if text else []
