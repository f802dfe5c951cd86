"""A screen whose widgets always hear that they were shown, or have another size now; and that makes what is seen only.

Textual tells widgets by what differs from the last layout. But whoever asks a widget for its size may have all sizes
worked out anew, and that takes the place of the last layout: what was shown just before is then never told, and
stays empty. It takes a refresh of something hidden, so it happens where the machine has much to do.

Textual also makes all lines of every widget that a change may have touched, and then keeps those that nothing covers:
of a place full of boxes in boxes that is less than a half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from textual._compositor import Compositor, CompositorMap, ReflowResult
from textual.geometry import Region, Size
from textual.reactive import Reactive
from textual.screen import Screen, ScreenResultType
from textual.strip import Strip
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

    def _render_chops(self, crop: Region, is_rendered_line: Callable[[int], bool]) -> Sequence[Mapping[int, Strip]]:
        """Return each line of the screen in pieces, by the column where a piece begins: those of the front widgets."""
        cuts = self.cuts
        chops: list[dict[int, Strip | None]] = [dict.fromkeys(line[:-1]) for line in cuts]
        for widget, (region, clip) in self.visible_widgets.items():  # from front to back
            seen = region.intersection(clip)
            if not seen or not crop.overlaps(clip):
                continue
            first, last = seen.column_span
            wanted: dict[int, list[int]] = {}  # columns where its pieces begin, and the end, by line
            for y in filter(is_rendered_line, seen.line_range):
                columns = [cut for cut in cuts[y] if first <= cut <= last]
                if any(chops[y][column] is None for column in columns[:-1]):
                    wanted[y] = columns
            if not wanted:
                continue
            top, bottom = min(wanted), max(wanted)
            lines = widget.render_lines(Region(seen.x - region.x, top - region.y, seen.width, bottom - top + 1))
            for y, columns in wanted.items():
                pieces = lines[y - top].divide([column - first for column in columns[1:]])
                for column, piece in zip(columns, pieces, strict=False):
                    if chops[y][column] is None:
                        chops[y][column] = piece
        return cast("Sequence[Mapping[int, Strip]]", chops)  # but for what no widget shows


class WholeScreen(Screen[ScreenResultType]):
    """What screens derive from that show and hide their parts."""

    # Widgets repaint themselves when they gain or lose the focus; Textual paints the whole screen then, too.
    focused: Reactive[Widget | None] = Reactive(None, repaint=False)

    def __init__(self) -> None:
        super().__init__()
        self._compositor = WholeCompositor()
