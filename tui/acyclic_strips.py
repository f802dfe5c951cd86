"""Lines of Textual that go as soon as nobody holds them.

A `Strip` keeps what was cut out of it. Where that is all of it, it keeps itself, and only a collection of garbage,
which stops the program, ends it: thousands of them a second, while runs log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from textual.strip import Strip

_divide, _adjust, _crop_extend = Strip.divide, Strip.adjust_cell_length, Strip.crop_extend


def keep_no_strip_of_itself() -> None:
    """Let the strips of this process not keep themselves."""
    for method in (divide, adjust_cell_length, crop_extend):
        setattr(Strip, method.__name__, method)


def divide(strip: Strip, cuts: Iterable[int]) -> Sequence[Strip]:
    """Cut a strip at some cells, as `Strip.divide` does."""
    cuts = [cut for cut in cuts if cut <= strip.cell_length]
    return [strip] if cuts == [strip.cell_length] else _divide(strip, cuts)


def adjust_cell_length(strip: Strip, cell_length: int, style: Style | None = None) -> Strip:
    """Fill up or cut off, as `Strip.adjust_cell_length` does."""
    return strip if strip.cell_length == cell_length else _adjust(strip, cell_length, style)


def crop_extend(strip: Strip, start: int, end: int, style: Style | None) -> Strip:
    """Fill up and cut out, as `Strip.crop_extend` does."""
    return strip if start <= 0 and strip.cell_length == end else _crop_extend(strip, start, end, style)
