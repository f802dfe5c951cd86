"""Lines of text in a given width, set in below the place where their value begins."""

from __future__ import annotations

from collections.abc import Iterable

from textual.content import Content

Line = tuple[int, Content]  # cells that what does not fit is set in by, text


def wrapped(lines: Iterable[Line], width: int) -> Content:
    """Return the lines, none of them wider than `width` cells."""
    return Content("\n").join([part for hang, line in lines for part in _wrapped(line, hang, width)])


def _wrapped(line: Content, hang: int, width: int) -> list[Content]:
    if line.cell_length <= width or width <= hang + 8:
        return line.wrap(max(width, 1)) or [line]
    head, value = line[:hang], line[hang:]
    first, *rest = value.wrap(width - hang)
    return [head + first, *(Content(" " * hang) + part for part in rest)]
