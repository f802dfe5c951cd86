"""The last thing before the terminal: every glyph in ASCII, where it has no more, and no colour where NO_COLOR says so.

Whatever a widget, a border or a name from outside brings passes here, so no screen has to think of all of it. Words
that read better than a single character, such as the names of keys, are chosen where they are written.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

_LIKE = {
    "…": "~",
    **dict.fromkeys("·–—−─━┄┅┈┉═↔", "-"),
    **dict.fromkeys("│┃┆┇┊┋║▎▏▌▐▕", "|"),
    **dict.fromkeys("‹←◀◂", "<"),
    **dict.fromkeys("›→▶▸⏎", ">"),
    **dict.fromkeys("↑▲△⇧", "^"),
    **dict.fromkeys("↓▼▾▽", "v"),
    **dict.fromkeys("‘’°", "'"),
    **dict.fromkeys("“”", '"'),
    **dict.fromkeys("●◆•", "*"),
    **dict.fromkeys("○◇◔◑◯", "o"),
    **dict.fromkeys("■□█▓▇▉▊▋▅▆", "#"),
    **dict.fromkeys("▁▂▃▄░▒", "_"),
    **dict.fromkeys("✔✓", "+"),
    **dict.fromkeys("✖✕×✗", "x"),
    **{"⚠": "!", "≠": "#", "≤": "<", "≥": ">", "≈": "~", "◉": "@", "Δ": "d", "⚑": "c", "↻": "R", "↶": "B", "␉": ">"},
}
_BOXES = range(0x2500, 0x2580)  # corners and crossings: those that are not in the table


class AsciiOnly(LineFilter):
    """Puts an ASCII character, or two for a wide one, in the place of every glyph; columns stay where they are."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Return the same cells in ASCII."""
        return [
            segment if segment.text.isascii() else Segment(in_ascii(segment.text), segment.style, segment.control)
            for segment in segments
        ]


@lru_cache(4096)
def in_ascii(text: str) -> str:
    """Return a text of as many cells that is ASCII."""
    return "".join(char if char.isascii() else _like(char) for char in text)


def _like(char: str) -> str:
    if char in _LIKE:
        return _LIKE[char]
    if ord(char) in _BOXES:
        return "+"
    plain = "".join(part for part in unicodedata.normalize("NFKD", char) if part.isascii() and part.isprintable())
    width = cell_len(char)
    return plain if len(plain) == width else "?" * width
