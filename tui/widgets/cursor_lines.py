"""What the tables share: a header, lines below it, and a cursor that stands on one of them."""

from __future__ import annotations

from rich.style import Style
from textual.binding import Binding
from textual.events import Blur, Focus
from textual.scroll_view import ScrollView

from tui.widgets.kept_style import KeptStyle


def cursor_bindings(line: str) -> list[Binding]:
    """Return the keys that move the cursor. line: what a line of the table is called."""
    return [
        Binding("down,j", "move(1)", f"next {line}", show=False),
        Binding("up,k", "move(-1)", f"previous {line}", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False),
        Binding("home,g", "edge(-1)", f"first {line}", show=False),
        Binding("end,G", "edge(1)", f"last {line}", show=False),
    ]


class CursorLines(ScrollView, KeptStyle, can_focus=True):
    """Moves the cursor and keeps it in view; what a line is, and what drawing it costs, is the table's."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._keys: list[str] = []  # of the lines
        self._cursor = 0

    def _go(self, index: int) -> None:
        """Put the cursor on a line, the first or last one if it is beyond; the table says what that means."""
        raise NotImplementedError

    def _cursor_ground(self, family: str) -> Style:
        """Return the ground of the line under the cursor. family: the prefix of the table's component classes."""
        style = self.get_component_rich_style(f"{family}--cursor" if self.has_focus else f"{family}--cursor-blurred")
        return Style(bgcolor=style.bgcolor, bold=style.bold, reverse=self.app.no_color or None)

    def _scroll_to_cursor(self) -> None:
        rows = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + rows:
            self.scroll_to(y=self._cursor - rows + 1, animate=False)

    def on_focus(self, event: Focus) -> None:
        self.refresh()

    def on_blur(self, event: Blur) -> None:
        self.refresh()

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by what is in view."""
        self._go(self._cursor + by * max(1, self.scrollable_content_region.height - 2))

    def action_edge(self, direction: int) -> None:
        """Move the cursor to the first or last line."""
        self._go(0 if direction < 0 else len(self._keys) - 1)
