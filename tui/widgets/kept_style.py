"""What widgets share that draw their lines themselves: their own style, worked out once a repaint and not once a line.

Textual goes through all ancestors for it, whose backgrounds may shine through; one that changes repaints what is in it.
"""

from __future__ import annotations

from typing import Self

from rich.style import Style
from textual.geometry import Region
from textual.widget import Widget


class KeptStyle(Widget):
    """Keeps its `rich_style` until it, or something that it stands in, asks for a repaint.

    Textual takes the CSS of the first base class: this one comes after another.
    """

    _kept: Style | None = None

    @property
    def rich_style(self) -> Style:
        """The style of a cell of which nothing else is known."""
        if self._kept is None:
            self._kept = super().rich_style
        return self._kept

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Repaint."""
        self._kept = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def notify_style_update(self) -> None:
        """Forget the style: it may be another one now."""
        self._kept = None
        super().notify_style_update()
