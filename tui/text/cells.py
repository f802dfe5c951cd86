"""Text in an exact number of terminal cells."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size

_ELLIPSIS = "…"


def align(text: str, width: int, *, right: bool = False) -> str:
    """Return the text in exactly `width` cells; what does not fit ends in an ellipsis."""
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + _ELLIPSIS if width else ""
    return " " * (width - size) + text if right else text + " " * (width - size)
