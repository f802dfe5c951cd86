"""A table of a few columns: draws only the lines in view, and leaves columns out where room is short."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import BindingType
from textual.events import Click, Resize
from textual.geometry import Size
from textual.message import Message
from textual.strip import Strip

from tui.text.cells import align
from tui.theme import STATE_COLORS
from tui.widgets.cursor_lines import CursorLines, cursor_bindings

_GAP = 2  # cells between columns
_INKS = {
    "text": "$foreground 90%",
    "strong": "$foreground",
    "quiet": "$foreground 60%",
    "mark": "$accent",
    "warning": "$warning",
    "error": "$error",
    **{f"state-{state.value}": color for state, color in STATE_COLORS.items()},
}
_INK_RULES = "\n".join(f"        .row-table--{ink} {{ color: {color}; }}" for ink, color in _INKS.items())


@dataclass(frozen=True, slots=True)
class Column:
    """One column; where room is short, the ones with the highest `rank` go first."""

    key: str
    title: str
    rank: int
    least: int = 0  # cells; 0: as wide as its widest cell, always
    right: bool = False
    needed: bool = True  # false: left out when no row has anything in it


@dataclass(frozen=True, slots=True)
class Cell:
    """A text without anything hidden in it, and the name of its ink."""

    text: str
    ink: str = "text"
    flows: bool = False  # it goes on over the columns at its right, which are empty in its row

    @property
    def needs(self) -> int:
        """Cells that its column should have for it."""
        return 0 if self.flows else cell_len(self.text)


Row = Mapping[str, Cell]


def fit(width: int, columns: Sequence[Column], rows: Sequence[Row]) -> list[tuple[Column, int]]:
    """Return the columns that `width` cells have room for, each with its width, in order."""
    wide = {column.key: max([cell_len(column.title), *(row[column.key].needs for row in rows)]) for column in columns}
    least = {column.key: min(wide[column.key], column.least or wide[column.key]) for column in columns}
    chosen = [column for column in columns if column.needed or any(row[column.key].text for row in rows)]
    while len(chosen) > 1 and sum(least[column.key] + _GAP for column in chosen) - _GAP > width:
        chosen.remove(max(chosen, key=lambda column: column.rank))
    spare = width - sum(least[column.key] + _GAP for column in chosen) + _GAP
    for column in sorted(chosen, key=lambda column: column.rank):
        more = max(0, min(spare, wide[column.key] - least[column.key]))
        least[column.key] += more
        spare -= more
    return [(column, least[column.key]) for column in chosen]


class RowTable(CursorLines, can_focus=True):
    """Rows with keys; the cursor stays on its key when the rows change."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "row-table--header",
        "row-table--cursor",
        "row-table--cursor-blurred",
        *(f"row-table--{ink}" for ink in _INKS),
    }
    DEFAULT_CSS = f"""
    RowTable {{
        height: 1fr;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        .row-table--header {{ color: $foreground 55%; }}
        .row-table--cursor {{ background: $block-cursor-background; text-style: $block-cursor-text-style; }}
        .row-table--cursor-blurred {{
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }}
{_INK_RULES}
    }}
    """

    BINDINGS: ClassVar[list[BindingType]] = list(cursor_bindings("row"))

    class Moved(Message):
        """The cursor stands on another row. key: null when there is none."""

        def __init__(self, key: str | None) -> None:
            super().__init__()
            self.key = key

    class Opened(Message):
        """A row was clicked twice."""

    def __init__(self, columns: Sequence[Column], *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._all_columns = tuple(columns)
        self._columns: list[tuple[Column, int]] = []
        self._rows: list[Row] = []
        self._laid_out_in: tuple[Size, Size] | None = None  # with its scroll bar, and without

    @property
    def selected(self) -> str | None:
        """The key of the row under the cursor."""
        return self._keys[self._cursor] if self._keys else None

    def show(self, rows: Mapping[str, Row]) -> None:
        """Show these rows, in order."""
        before = self.selected
        keys, listed = list(rows), list(rows.values())
        if keys == self._keys and listed == self._rows:
            return
        self._keys, self._rows = keys, listed
        if before is not None and before in rows:
            self._cursor = keys.index(before)
        else:
            self._cursor = min(self._cursor, max(0, len(keys) - 1))
        self._lay_out()
        if self.selected != before:
            self.post_message(self.Moved(self.selected))

    def select(self, key: str) -> None:
        """Put the cursor on a row, if it is there."""
        if key in self._keys:
            self._go(self._keys.index(key))

    def render_line(self, y: int) -> Strip:
        """Return the header, or the row that stands at this height."""
        width = self.scrollable_content_region.width
        if y == 0:
            ink = self.get_component_rich_style("row-table--header")
            titles = (" " * _GAP).join(align(column.title, size, right=column.right) for column, size in self._columns)
            return Strip([Segment(titles, ink)]).adjust_cell_length(width, self.rich_style)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        ground = self._ground(index)
        segments = [
            Segment(text, self.get_component_rich_style(f"row-table--{ink}") + ground)
            for ink, text in self._runs_of(self._rows[index], width)
        ]
        return Strip(segments).adjust_cell_length(width, ground)

    def _runs_of(self, row: Row, width: int) -> list[tuple[str, str]]:
        """Return (ink, text) of a row: the fewer pieces, the sooner it is on the screen."""
        runs: list[tuple[str, str]] = []
        taken = 0
        for column, size in self._columns:
            cell = row[column.key]
            room = width - taken if cell.flows else size
            text = " " * min(taken, _GAP) + align(cell.text, room, right=column.right and not cell.flows)
            if runs and runs[-1][0] == cell.ink:
                text = runs.pop()[1] + text
            runs.append((cell.ink, text))
            if cell.flows:
                break
            taken += size + _GAP
        return runs

    def _ground(self, index: int) -> Style:
        if index != self._cursor:
            return self.rich_style.background_style
        return self._cursor_ground("row-table")

    def _lay_out(self) -> None:
        if not self.is_attached or not self.size.width:
            return
        self.virtual_size = Size(self.size.width, 1 + len(self._rows))
        self._columns = fit(self.scrollable_content_region.width, self._all_columns, self._rows)
        self._scroll_to_cursor()
        self.refresh()
        self._laid_out_in = self.size, self.scrollable_content_region.size

    def _go(self, index: int) -> None:
        index = min(max(index, 0), len(self._keys) - 1)
        if self._keys and index != self._cursor:
            self._cursor = index
            self._scroll_to_cursor()
            self.refresh()
            self.post_message(self.Moved(self.selected))

    def on_resize(self, event: Resize) -> None:
        if self._laid_out_in != (self.size, self.scrollable_content_region.size):  # else it only is shown again
            self._lay_out()

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        if offset is not None and offset.y > 0 and offset.y - 1 + self.scroll_offset.y < len(self._rows):
            self._go(offset.y - 1 + self.scroll_offset.y)
            if event.chain == 2:
                self.post_message(self.Opened())
