"""What stands on a screen as a text that can be stored and compared: its lines, then how each of their parts looks.

Lines of looks are runs of "LETTER COUNT"; the list below them says what each letter is. So a difference can be read.
"""

from __future__ import annotations

import difflib
from itertools import groupby
from typing import Any

from rich.segment import Segment
from rich.style import Style

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZαβγδεζηθικλμνξοπρστυφχψω"
_LOOKS = "--- looks"
_KEY = "--- where"


def picture(screen: Any) -> str:
    """Return the whole screen."""
    lines = [[segment for segment in strip if not segment.control] for strip in screen._compositor.render_strips()]
    letters: dict[str, str] = {}
    looks = [_looks(line, letters) for line in lines]
    texts = ["".join(segment.text for segment in line).rstrip() for line in lines]
    key = [f"{letter} {look}" for look, letter in letters.items()]
    return "\n".join([*texts, _LOOKS, *looks, _KEY, *key, ""])


def _looks(line: list[Segment], letters: dict[str, str]) -> str:
    cells = [look for segment in line for look in [_look(segment.style)] * segment.cell_length]
    runs = [(look, len(list(same))) for look, same in groupby(cells)]
    return " ".join(
        f"{letters.setdefault(look, _LETTERS[len(letters) % len(_LETTERS)])}{count}" for look, count in runs
    )


def _look(style: Style | None) -> str:
    if style is None:
        return "plain"
    colors = [color.name if color is not None else "none" for color in (style.color, style.bgcolor)]
    words = [word for word in ("bold", "dim", "italic", "underline", "reverse") if getattr(style, word)]
    return " ".join([f"{colors[0]} on {colors[1]}", *words])


def difference(stored: str, found: str) -> str:
    """Return the lines that differ: - as stored, + as found; those of looks only where the texts are the same."""
    parts = [text.partition(_LOOKS) for text in (stored, found)]
    texts = [text.splitlines() for text, _, _ in parts]
    if texts[0] == texts[1]:
        texts = [looks.splitlines() for _, _, looks in parts]
    changed = [line for line in difflib.unified_diff(*texts, "stored", "found", "", "", 0, "") if line[:2] != "@@"]
    return "\n".join(changed)
