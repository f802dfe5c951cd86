"""A grid of nodes and their slots, with a cursor that goes from slot to slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Blur, Click, Focus, Resize
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.cluster.slot_cells import FAULT, FOREIGN, FREE, INKS, OLD, UNKNOWN, GridCell, GridNode
from tui.text.cells import align
from tui.theme import SERIES_COLORS
from tui.widgets.kept_style import KeptStyle

_LONG, _SHORT = 5, 2  # cells of a slot: with its number, or with its bar alone
_LONGEST_HOST, _LEAST_NOTE = 18, 14
_INKS = {
    FREE: "$foreground 45%",
    UNKNOWN: "$foreground 35%",
    FOREIGN: "$warning",
    FAULT: "$error",
    OLD: "$foreground 45%",
    "quiet": "$foreground 60%",
    "warning": "$warning",
    "error": "$error",
    "host": "$foreground 90%",
    **{f"run-{place}": SERIES_COLORS[place] for place in range(INKS)},
}
_INK_RULES = "\n".join(f"        .slot-grid--{ink} {{ color: {color}; }}" for ink, color in _INKS.items())


class SlotGrid(ScrollView, KeptStyle, can_focus=True):
    """One line a node, more where it has more slots than fit."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "slot-grid--cursor",
        "slot-grid--cursor-blurred",
        *(f"slot-grid--{ink}" for ink in _INKS),
    }
    DEFAULT_CSS = f"""
    SlotGrid {{
        height: 1fr;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        .slot-grid--cursor {{ background: $block-cursor-background; text-style: $block-cursor-text-style; }}
        .slot-grid--cursor-blurred {{
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }}
{_INK_RULES}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move_node(1)", "next node", show=False),
        Binding("up,k", "move_node(-1)", "previous node", show=False),
        Binding("right", "move_slot(1)", "next slot", show=False),
        Binding("left", "move_slot(-1)", "previous slot", show=False),
        Binding("home,g", "edge(-1)", "first node", show=False),
        Binding("end,G", "edge(1)", "last node", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another slot."""

    class Opened(Message):
        """A slot was clicked twice."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: Sequence[GridNode] = ()
        self._cursor = (0, 0)  # node, slot
        self._cell, self._host, self._per_line = _LONG, 0, 1
        self._numbered = False  # whether the first line has the numbers of the slots
        self._lines: list[tuple[int, int] | None] = []  # node, first slot; null: nothing stands there

    @property
    def cursor(self) -> tuple[int, int]:
        """The places of the node and of the slot under the cursor."""
        return self._cursor

    def show(self, nodes: Sequence[GridNode]) -> None:
        """Show these; the cursor stays where it is."""
        if nodes != self._shown:
            self._shown = nodes
            self._go(*self._cursor)
            self._lay_out()

    def go_home(self) -> None:
        """Put the cursor on the first slot."""
        self._go(0, 0)

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not self.is_attached or width <= 0:
            return
        most = max((len(node.cells) for node in self._shown), default=1)
        self._host = min(_LONGEST_HOST, max((cell_len(node.host) for node in self._shown), default=0))
        room = width - self._host - 2 - _LEAST_NOTE
        self._cell = _LONG if most * (_LONG + 1) <= room else _SHORT
        self._per_line = max(1, min(most, room // (self._cell + 1)))
        lines = [
            (place, first)
            for place, node in enumerate(self._shown)
            for first in range(0, max(1, len(node.cells)), self._per_line)
        ]
        roomy = 2 * len(lines) <= self.scrollable_content_region.height
        self._numbered = most <= self._per_line and self._cell == _LONG
        self._lines = [None] if self._numbered else []
        for line in lines:
            self._lines += [line, None] if roomy else [line]
        self.virtual_size = Size(self.size.width, len(self._lines))
        self._scroll_to_cursor()
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """Return the line of a node that stands at this height."""
        width = self.scrollable_content_region.width
        line = self._line(y)
        if line is None:
            above_all = y + self.scroll_offset.y == 0 and self._numbered
            return self._numbers(width) if above_all else Strip.blank(width, self.rich_style)
        place, first = line
        node = self._shown[place]
        host = align(node.host if first == 0 else "", self._host)
        segments = [Segment(host, self._ink("host")), Segment("  ", self.rich_style)]
        for number in range(first, first + self._per_line):
            if number < len(node.cells):
                segments.append(self._segment(node.cells[number], (place, number) == self._cursor))
            else:
                segments.append(Segment(" " * self._cell, self.rich_style))
            segments.append(Segment(" ", self.rich_style))
        if first == 0:
            segments += self._notes(node, width - sum(cell_len(segment.text) for segment in segments))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _line(self, y: int) -> tuple[int, int] | None:
        """Return the node and the first slot that stand at this height."""
        line = y + self.scroll_offset.y
        return self._lines[line] if 0 <= line < len(self._lines) else None

    def _numbers(self, width: int) -> Strip:
        """Return the numbers of the slots."""
        numbers = range(max((len(node.cells) for node in self._shown), default=0))
        text = " " * (self._host + 2) + "".join(f"{number:<{self._cell + 1}}" for number in numbers)
        return Strip([Segment(text, self._ink(UNKNOWN))]).adjust_cell_length(width, self.rich_style)

    def _segment(self, cell: GridCell, under_cursor: bool) -> Segment:
        style = self._ink(cell.ink)
        if cell.straggles:
            style += Style(underline=True, bold=True)
        if under_cursor:
            ground = self.get_component_rich_style(
                "slot-grid--cursor" if self.has_focus else "slot-grid--cursor-blurred"
            )
            style += Style(bgcolor=ground.bgcolor, bold=ground.bold, reverse=self.app.no_color or None)
        return Segment(f"{cell.owner}{cell.load}"[: self._cell].ljust(self._cell), style)

    def _notes(self, node: GridNode, room: int) -> list[Segment]:
        segments = [Segment(" ", self.rich_style)]
        room -= 1
        for ink, text in node.notes:
            if cell_len(text) > room:
                break
            segments.append(Segment(text, self._ink(ink)))
            segments.append(Segment("  ", self.rich_style))
            room -= cell_len(text) + 2
        return segments

    def _ink(self, name: str) -> Style:
        return self.get_component_rich_style(f"slot-grid--{name}")

    def _go(self, place: int, number: int) -> None:
        place = min(max(place, 0), max(0, len(self._shown) - 1))
        slots = len(self._shown[place].cells) if self._shown else 1
        cursor = (place, min(max(number, 0), max(0, slots - 1)))
        if cursor != self._cursor:
            self._cursor = cursor
            self._scroll_to_cursor()
            self.refresh()
            self.post_message(self.Moved())

    def _scroll_to_cursor(self) -> None:
        place, number = self._cursor
        wanted = (place, number - number % self._per_line)
        line = self._lines.index(wanted) if wanted in self._lines else 0
        line = 0 if line == 1 and self._numbered else line  # with the numbers of the slots above it
        height, top = max(1, self.scrollable_content_region.height), self.scroll_offset.y
        if line < top:
            self.scroll_to(y=line, animate=False)
        elif line >= top + height:
            self.scroll_to(y=line - height + 1, animate=False)

    def on_resize(self, event: Resize) -> None:
        self._lay_out()

    def on_focus(self, event: Focus) -> None:
        self.refresh()

    def on_blur(self, event: Blur) -> None:
        self.refresh()

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        line = None if offset is None else self._line(offset.y)
        if offset is None or line is None:
            return
        place, first = line
        number = first + max(0, offset.x - self._host - 2) // (self._cell + 1)
        if number < min(len(self._shown[place].cells), first + self._per_line):
            self._go(place, number)
            if event.chain == 2:
                self.post_message(self.Opened())

    def action_move_node(self, by: int) -> None:
        """Go to another node."""
        self._go(self._cursor[0] + by, self._cursor[1])

    def action_move_slot(self, by: int) -> None:
        """Go to another slot of the node."""
        self._go(self._cursor[0], self._cursor[1] + by)

    def action_edge(self, direction: int) -> None:
        """Go to the first or last node."""
        self._go(0 if direction < 0 else len(self._shown) - 1, self._cursor[1])
