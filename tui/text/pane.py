"""The forms that lines of a detail pane have: headings, and labels with their values."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

from tui.text.safe import visible
from tui.text.wrapping import Line, wrapped

LABEL = 10  # cells
QUIET, HEAD = "$foreground 60%", "bold $foreground 75%"


def head(text: str) -> Line:
    """Return a heading."""
    return 0, Content.assemble((visible(text), HEAD))


def pair(label: str, value: str, style: str = "") -> Line:
    """Return a label and what it is of this one."""
    return LABEL, Content.assemble((f"{visible(label):<{LABEL}}", QUIET), (visible(value), style))


def plain(text: str, style: str = "") -> Line:
    """Return a sentence."""
    return 0, Content.assemble((visible(text), style))


def joined(blocks: Iterable[Iterable[Line]], width: int) -> Content:
    """Return blocks of lines with an empty line between them, none wider than `width` cells."""
    lines: list[Line] = []
    for block in blocks:
        found = list(block)
        lines += [*([(0, Content())] if lines and found else []), *found]
    return wrapped(lines, width)
