"""A screen whose widgets always hear that they were shown, or have another size now.

Textual tells them by what differs from the last layout. But whoever asks a widget for its size may have all sizes
worked out anew, and that takes the place of the last layout: what was shown just before is then never told, and
stays empty. It takes a refresh of something hidden, so it happens where the machine has much to do.
"""

from __future__ import annotations

from textual._compositor import Compositor, CompositorMap, ReflowResult
from textual.geometry import Size
from textual.screen import Screen, ScreenResultType
from textual.widget import Widget


class WholeCompositor(Compositor):
    """Holds each layout against the last one, whatever was asked between them."""

    def __init__(self) -> None:
        super().__init__()
        self._laid_out: CompositorMap | None = None

    def reflow(self, parent: Widget, size: Size) -> ReflowResult:
        """Lay out the widgets; return those that are hidden, shown and resized since the last time."""
        if self._laid_out is not None:
            self._full_map = self._laid_out
        result = super().reflow(parent, size)
        self._laid_out = self._full_map
        return result

    def clear(self) -> None:
        """Forget all widgets."""
        super().clear()
        self._laid_out = None


class WholeScreen(Screen[ScreenResultType]):
    """What screens derive from that show and hide their parts."""

    def __init__(self) -> None:
        super().__init__()
        self._compositor = WholeCompositor()
