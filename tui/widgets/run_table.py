"""The list of experiments: a table that draws only the lines in view and repaints only what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from engine.telemetry.states import State
from tui.run_list import Heading
from tui.text.cells import align
from tui.theme import STATE_COLORS
from tui.widgets.cursor_lines import CursorLines, cursor_bindings

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from tui.run_list import Specs
    from tui.widgets.run_columns import Cell, Column, Row

_STATE_RULES = "\n".join(
    f"        .run-table--state-{state.value} {{ color: {color}; }}" for state, color in STATE_COLORS.items()
)
_MARGIN = 3  # cells at the left for marks, and for what folds a group
_INKS = ("id", "text", "quiet", "value", "bad", "curve", "bar", "mark", "baseline", "pin", "heading", "subheading")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the table shows."""

    lines: Sequence[Experiment | Heading] = ()
    tails: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of headline metrics, by id
    columns: Sequence[str] = ()  # keys of those that were chosen; empty: the usual ones
    specs: Specs = field(default_factory=dict)  # as far as columns need them
    signs: Mapping[str, Cell] = field(default_factory=dict)  # of marks, by id
    grouped: bool = False
    sort: str = ""  # see `engine.store.ordering`


class RunTable(CursorLines, can_focus=True):
    """Any number of lines; a change costs what is in view."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "run-table--header",
        "run-table--cursor",
        "run-table--cursor-blurred",
        "run-table--range",
        *(f"run-table--{ink}" for ink in _INKS),
        *(f"run-table--state-{state.value}" for state in State),
    }
    DEFAULT_CSS = f"""
    RunTable {{
        height: 1fr;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        .run-table--header {{ color: $foreground 55%; }}
        .run-table--cursor {{ background: $block-cursor-background; text-style: $block-cursor-text-style; }}
        .run-table--cursor-blurred {{
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }}
        .run-table--range {{ background: $accent 15%; }}
        .run-table--id {{ color: $foreground; }}
        .run-table--text {{ color: $foreground 90%; }}
        .run-table--quiet {{ color: $foreground 60%; }}
        .run-table--value {{ color: $foreground; }}
        .run-table--bad {{ color: $error; }}
        .run-table--curve {{ color: $accent 75%; }}
        .run-table--bar {{ color: $primary; }}
        .run-table--mark {{ color: $secondary; text-style: bold; }}
        .run-table--baseline {{ color: $accent; text-style: bold; }}
        .run-table--pin {{ color: $foreground 60%; }}
        .run-table--heading {{ color: $foreground 90%; text-style: bold; }}
        .run-table--subheading {{ color: $foreground 80%; }}
{_STATE_RULES}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *cursor_bindings("run"),
        Binding("left", "fold(True)", "fold the group", show=False),
        Binding("right", "fold(False)", "unfold the group", show=False),
    ]

    class Moved(Message):
        """The cursor stands on something else, or what it stands on changed."""

    class Opened(Message):
        """An experiment was clicked twice."""

    class Fold(Message):
        """A group is to be folded, or unfolded."""

        def __init__(self, key: str, folded: bool) -> None:
            super().__init__()
            self.key, self.folded = key, folded

    class SortBy(Message):
        """The title of a column was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._listing = Listing()
        self._rows: dict[str, Row] = {}  # those in view
        self._columns: list[tuple[Column, int]] = []
        self._curves: dict[str, tuple[Sequence[float], Cell]] = {}  # tails of those seen, and their sparklines
        self._anchor: int | None = None
        self._now = 0.0

    @property
    def selected(self) -> Experiment | None:
        """The experiment under the cursor; null on a heading, and when there is none."""
        line = self._line_at(self._cursor)
        return None if isinstance(line, Heading) else line

    @property
    def heading(self) -> Heading | None:
        """The heading under the cursor."""
        line = self._line_at(self._cursor)
        return line if isinstance(line, Heading) else None

    @property
    def experiments(self) -> list[Experiment]:
        """The experiments that have a line, in order."""
        return [line for line in self._listing.lines if not isinstance(line, Heading)]

    @property
    def is_empty(self) -> bool:
        """Whether there is no line."""
        return not self._keys

    @property
    def chosen_range(self) -> list[Experiment] | None:
        """The experiments from where a range was begun to the cursor; null when none was begun."""
        if self._anchor is None:
            return None
        first, last = sorted((self._anchor, self._cursor))
        return [line for line in self._listing.lines[first : last + 1] if not isinstance(line, Heading)]

    def show(self, listing: Listing, now: float) -> None:
        """Show this; the cursor stays on its line, or at its place when that is gone. now: seconds since the epoch."""
        before = self._line_at(self._cursor)
        keys = [_key(line) for line in listing.lines]
        same = keys == self._keys and listing.grouped == self._listing.grouped and listing.sort == self._listing.sort
        under = self._keys[self._cursor] if before is not None else ""
        signs = listing.signs != self._listing.signs
        self._listing, self._keys, self._now = listing, keys, now
        if under in keys:
            self._cursor = keys.index(under)
        else:
            self._cursor = min(self._cursor, max(0, len(keys) - 1))
        if not same:
            self._anchor = None
            self.virtual_size = Size(self.size.width, 1 + len(keys))
            self._scroll_to_cursor()
        self._repaint(all_of_it=not same or signs)
        if self._line_at(self._cursor) != before:
            self.post_message(self.Moved())

    def tick(self, now: float) -> None:
        """Let the ages count on."""
        self._now = now
        self._repaint()

    def select(self, key: str) -> None:
        """Put the cursor on an experiment, by its id, or on a heading, if it is in the list."""
        if key in self._keys:
            self._go(self._keys.index(key))

    def neighbour(self, identity: str, direction: int) -> Experiment | None:
        """Put the cursor on the experiment after (1) or before (-1) this one, and return it; null at the end."""
        place = self._keys.index(identity) if identity in self._keys else None
        while place is not None and 0 <= place + direction < len(self._keys):
            place += direction
            if not isinstance(self._listing.lines[place], Heading):
                self._go(place)
                return self.selected
        return None

    def begin_range(self) -> None:
        """Begin a range at the cursor."""
        self._anchor = self._cursor
        self.refresh()

    def end_range(self) -> bool:
        """Forget the range; returns whether there was one."""
        was, self._anchor = self._anchor is not None, None
        self.refresh()
        return was

    def _line_at(self, index: int) -> Experiment | Heading | None:
        return self._listing.lines[index] if 0 <= index < len(self._listing.lines) else None

    @property
    def _margin(self) -> int:
        return _MARGIN if self._listing.signs or self._listing.grouped else 0

    def render_line(self, y: int) -> Strip:
        """Return the header, or the line that stands at this height."""
        width = self.scrollable_content_region.width
        if y == 0:
            return self._header(width)
        line = self._line_at(y - 1 + self.scroll_offset.y)
        if line is None:
            return Strip.blank(width, self.rich_style)
        return self._drawn(y - 1 + self.scroll_offset.y, width)

    def _header(self, width: int) -> Strip:
        from tui.widgets.run_columns import GAP, titled

        ink = self.get_component_rich_style("run-table--header")
        titles = (" " * GAP).join(titled(column, size, self._listing.sort) for column, size in self._columns)
        return Strip([Segment(" " * self._margin + titles, ink)]).adjust_cell_length(width, self.rich_style)

    def _drawn(self, index: int, width: int) -> Strip:
        from tui.widgets.run_columns import GAP

        line, ground = self._listing.lines[index], self._ground(index)
        if isinstance(line, Heading):
            return self._heading(line, ground).adjust_cell_length(width, ground)
        row = self._rows.get(self._keys[index])
        if row is None:
            return Strip.blank(width, self.rich_style)
        segments = []
        if self._margin:
            sign = self._listing.signs.get(self._keys[index])
            text = align(sign.text if sign else "", _MARGIN)
            segments.append(Segment(text, self._ink(sign.ink if sign else "quiet") + ground))
        for column, size in self._columns:
            cell = row[column.key]
            text = align(cell.text, size, right=column.right)
            segments += [Segment(text, self._ink(cell.ink) + ground), Segment(" " * GAP, ground)]
        return Strip(segments).adjust_cell_length(width, ground)

    def _heading(self, heading: Heading, ground: Style) -> Strip:
        from tui.widgets.run_signs import heading_cells

        return Strip([Segment(cell.text, self._ink(cell.ink) + ground) for cell in heading_cells(heading)])

    def _ink(self, name: str) -> Style:
        return self.get_component_rich_style(f"run-table--{name}")

    def _ground(self, index: int) -> Style:
        if index != self._cursor:
            if self._anchor is None or not min(self._anchor, self._cursor) <= index <= max(self._anchor, self._cursor):
                return self.rich_style.background_style
            style = self.get_component_rich_style("run-table--range")
            return Style(bgcolor=style.bgcolor, underline=self.app.no_color or None)
        return self._cursor_ground("run-table")

    def _repaint(self, *, all_of_it: bool = False) -> None:
        """Lay the rows in view out again, and refresh the spans that differ from what was there."""
        from tui.widgets.run_columns import columns_of, fit, row

        if not self.is_attached or not self.size.width:
            return
        first, height = self.scroll_offset.y, self.scrollable_content_region.height
        in_view = self._listing.lines[first : first + height]
        before, columns_before = self._rows, self._columns
        further, specs = self._listing.columns, self._listing.specs
        self._rows = {
            line.id: row(line, self._now, further, specs.get(line.id, {}))
            for line in in_view
            if not isinstance(line, Heading)
        }
        width = self.scrollable_content_region.width - self._margin
        self._columns = fit(width, list(self._rows.values()), columns_of(further))
        if self._columns != columns_before:
            self._curves.clear()
        for identity, cells in self._rows.items():
            cells["curve"] = self._curve(identity)
        if all_of_it or self._columns != columns_before:
            self.refresh()
            return
        for y, line in enumerate(in_view, start=1):
            if isinstance(line, Heading):
                self._refresh_span(0, y, self.scrollable_content_region.width)
            else:
                self._refresh_changes(y, before.get(_key(line)), self._rows[_key(line)])

    def _curve(self, identity: str) -> Cell:
        """Return the sparkline of a row: the one that it had, while nothing that it shows is new."""
        from tui.widgets.run_columns import curve

        tail = self._listing.tails.get(identity, ())
        known = self._curves.get(identity)
        if known is None or known[0] is not tail:
            known = self._curves[identity] = tail, curve(tail, self._columns)
        return known[1]

    def _refresh_changes(self, y: int, before: Row | None, after: Row) -> None:
        from tui.widgets.run_columns import GAP

        left = self._margin
        for column, size in self._columns:
            if before is None or before[column.key] != after[column.key]:
                self._refresh_span(left, y, size)
            left += size + GAP

    def _refresh_span(self, x: int, y: int, width: int) -> None:
        """Refresh cells of a line. y: its height in the table, as `render_line` has it."""
        left, top = self.content_region.x - self.region.x, self.content_region.y - self.region.y
        if 0 < y < self.scrollable_content_region.height:
            self.refresh(Region(x + left, y + top, width, 1))

    def _go(self, index: int) -> None:
        if not self._keys:
            return
        index = min(max(index, 0), len(self._keys) - 1)
        if index != self._cursor:
            before, self._cursor = self._cursor, index
            self._scroll_to_cursor()
            if self._anchor is not None:
                self.refresh()
            for line in (before, index):
                self._refresh_span(0, line + 1 - self.scroll_offset.y, self.scrollable_content_region.width)
            self.post_message(self.Moved())

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._repaint(all_of_it=True)

    def on_resize(self, event: Resize) -> None:
        self.virtual_size = Size(self.size.width, 1 + len(self._keys))
        self._scroll_to_cursor()
        self._repaint(all_of_it=True)

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if offset.y == 0:
            self._click_title(offset.x)
            return
        index = offset.y - 1 + self.scroll_offset.y
        if index < len(self._keys):
            self._go(index)
            if self.heading is not None:
                self.action_fold(not self.heading.folded)
            elif event.chain == 2:
                self.post_message(self.Opened())

    def _click_title(self, x: int) -> None:
        from tui.widgets.run_columns import GAP

        left = self._margin
        for column, size in self._columns:
            if left <= x < left + size + GAP:
                self.post_message(self.SortBy(column.key))
                return
            left += size + GAP

    def action_fold(self, folded: bool) -> None:
        """Fold the group that the cursor stands in, or unfold it."""
        if not self._listing.grouped:
            return
        place = self._cursor
        while place >= 0 and not isinstance(self._listing.lines[place], Heading):
            place -= 1
        heading = self._line_at(place)
        if folded and place == self._cursor and isinstance(heading, Heading) and heading.folded:
            self._go(self._outer(place, heading.level))
        elif place >= 0:
            if folded:
                self._go(place)
            self.post_message(self.Fold(self._keys[place], folded))

    def _outer(self, place: int, level: int) -> int:
        """Return the place of the heading of the group that an inner group is in; of an outer one its own."""
        for at in range(place, -1, -1):
            line = self._line_at(at)
            if isinstance(line, Heading) and line.level < level:
                return at
        return place


def _key(line: Experiment | Heading) -> str:
    return line.key if isinstance(line, Heading) else line.id
