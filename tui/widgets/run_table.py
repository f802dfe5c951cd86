"""The list of experiments: a table that draws only the lines in view and repaints only what changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Blur, Click, Focus, Resize
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.telemetry.states import State
from tui.theme import STATE_COLORS

if TYPE_CHECKING:
    from engine.store.experiments import Experiment
    from tui.widgets.run_columns import Column, Row

_STATE_RULES = "\n".join(
    f"        .run-table--state-{state.value} {{ color: {color}; }}" for state, color in STATE_COLORS.items()
)


class RunTable(ScrollView, can_focus=True):
    """Any number of rows; a change costs what is in view."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "run-table--header",
        "run-table--cursor",
        "run-table--cursor-blurred",
        *(f"run-table--{ink}" for ink in ("id", "text", "quiet", "value", "bad", "curve", "bar")),
        *(f"run-table--state-{state.value}" for state in State),
    }
    DEFAULT_CSS = f"""
    RunTable {{
        height: 1fr;
        padding: 0 1;
        overflow-x: hidden;
        scrollbar-size-vertical: 1;
        .run-table--header {{ color: $foreground 55%; }}
        .run-table--cursor {{ background: $block-cursor-background; text-style: bold; }}
        .run-table--cursor-blurred {{ background: $block-cursor-blurred-background; }}
        .run-table--id {{ color: $foreground; }}
        .run-table--text {{ color: $foreground 90%; }}
        .run-table--quiet {{ color: $foreground 60%; }}
        .run-table--value {{ color: $foreground; }}
        .run-table--bad {{ color: $error; }}
        .run-table--curve {{ color: $accent 75%; }}
        .run-table--bar {{ color: $primary; }}
{_STATE_RULES}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "next run", show=False),
        Binding("up,k", "move(-1)", "previous run", show=False),
        Binding("pagedown,ctrl+d", "page(1)", "page down", show=False),
        Binding("pageup,ctrl+u", "page(-1)", "page up", show=False),
        Binding("home,g", "edge(-1)", "first run", show=False),
        Binding("end,G", "edge(1)", "last run", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another experiment. experiment: null when the list is empty."""

        def __init__(self, experiment: Experiment | None) -> None:
            super().__init__()
            self.experiment = experiment

    class Opened(Message):
        """An experiment was clicked twice."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._experiments: Sequence[Experiment] = ()
        self._tails: Mapping[str, Sequence[float]] = {}
        self._rows: dict[str, Row] = {}  # those in view
        self._columns: list[tuple[Column, int]] = []
        self._cursor = 0
        self._now = 0.0

    @property
    def selected(self) -> Experiment | None:
        """The experiment under the cursor."""
        return self._experiments[self._cursor] if self._experiments else None

    def show(self, experiments: Sequence[Experiment], tails: Mapping[str, Sequence[float]], now: float) -> None:
        """Show this list; the cursor stays on its experiment, or at its place when that is gone."""
        before = self.selected
        ids = [experiment.id for experiment in experiments]
        same = ids == [experiment.id for experiment in self._experiments]
        self._experiments, self._tails, self._now = experiments, tails, now
        if before is not None and before.id in ids:
            self._cursor = ids.index(before.id)
        else:
            self._cursor = min(self._cursor, max(0, len(ids) - 1))
        if not same:
            self.virtual_size = Size(self.size.width, 1 + len(ids))
            self._scroll_to_cursor()
        self._repaint(all_of_it=not same)
        if self.selected != before:
            self.post_message(self.Moved(self.selected))

    def tick(self, now: float) -> None:
        """Let the ages count on."""
        self._now = now
        self._repaint()

    def select(self, identity: str) -> None:
        """Put the cursor on an experiment, if it is in the list."""
        for index, experiment in enumerate(self._experiments):
            if experiment.id == identity:
                self._go(index)

    def render_line(self, y: int) -> Strip:
        """Return the header, or the row that stands at this height."""
        width = self.scrollable_content_region.width
        if y == 0:
            return self._header(width)
        index = y - 1 + self.scroll_offset.y
        if index >= len(self._experiments):
            return Strip.blank(width, self.rich_style)
        return self._line(index, width)

    def _header(self, width: int) -> Strip:
        from tui.widgets.run_columns import GAP, align

        ink = self.get_component_rich_style("run-table--header")
        titles = (" " * GAP).join(align(column.title, size, right=column.right) for column, size in self._columns)
        return Strip([Segment(titles, ink)]).adjust_cell_length(width, self.rich_style)

    def _line(self, index: int, width: int) -> Strip:
        from tui.widgets.run_columns import GAP, align

        row = self._rows.get(self._experiments[index].id)
        if row is None:
            return Strip.blank(width, self.rich_style)
        ground = self._ground(index)
        segments = []
        for column, size in self._columns:
            cell = row[column.key]
            ink = self.get_component_rich_style(f"run-table--{cell.ink}") + ground
            segments += [Segment(align(cell.text, size, right=column.right), ink), Segment(" " * GAP, ground)]
        return Strip(segments).adjust_cell_length(width, ground)

    def _ground(self, index: int) -> Style:
        if index != self._cursor:
            return self.rich_style.background_style
        name = "run-table--cursor" if self.has_focus else "run-table--cursor-blurred"
        style = self.get_component_rich_style(name)
        return Style(bgcolor=style.bgcolor, bold=style.bold, reverse=self.app.no_color or None)

    def _repaint(self, *, all_of_it: bool = False) -> None:
        """Lay the rows in view out again, and refresh the spans that differ from what was there."""
        from tui.widgets.run_columns import curve, fit, row

        if not self.is_attached or not self.size.width:
            return
        first, height = self.scroll_offset.y, self.scrollable_content_region.height
        in_view = self._experiments[first : first + height]
        before, columns_before = self._rows, self._columns
        self._rows = {experiment.id: row(experiment, self._now) for experiment in in_view}
        self._columns = fit(self.scrollable_content_region.width, list(self._rows.values()))
        for identity, cells in self._rows.items():
            cells["curve"] = curve(self._tails.get(identity, ()), self._columns)
        if all_of_it or self._columns != columns_before:
            self.refresh()
            return
        for y, experiment in enumerate(in_view, start=1):
            self._refresh_changes(y, before.get(experiment.id), self._rows[experiment.id])

    def _refresh_changes(self, y: int, before: Row | None, after: Row) -> None:
        from tui.widgets.run_columns import GAP

        left = self.content_region.x - self.region.x
        for column, size in self._columns:
            if before is None or before[column.key] != after[column.key]:
                self.refresh(Region(left, y + self.content_region.y - self.region.y, size, 1))
            left += size + GAP

    def _go(self, index: int) -> None:
        if not self._experiments:
            return
        index = min(max(index, 0), len(self._experiments) - 1)
        if index != self._cursor:
            self._cursor = index
            self._scroll_to_cursor()
            self.refresh()
            self.post_message(self.Moved(self.selected))

    def _scroll_to_cursor(self) -> None:
        rows = max(1, self.scrollable_content_region.height - 1)
        top = self.scroll_offset.y
        if self._cursor < top:
            self.scroll_to(y=self._cursor, animate=False)
        elif self._cursor >= top + rows:
            self.scroll_to(y=self._cursor - rows + 1, animate=False)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._repaint(all_of_it=True)

    def on_resize(self, event: Resize) -> None:
        self.virtual_size = Size(self.size.width, 1 + len(self._experiments))
        self._scroll_to_cursor()
        self._repaint(all_of_it=True)

    def on_focus(self, event: Focus) -> None:
        self.refresh()

    def on_blur(self, event: Blur) -> None:
        self.refresh()

    def on_click(self, event: Click) -> None:
        y = event.get_content_offset(self)
        if y is not None and y.y > 0 and y.y - 1 + self.scroll_offset.y < len(self._experiments):
            self._go(y.y - 1 + self.scroll_offset.y)
            if event.chain == 2:
                self.post_message(self.Opened())

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by what is in view."""
        self._go(self._cursor + by * max(1, self.scrollable_content_region.height - 2))

    def action_edge(self, direction: int) -> None:
        """Move the cursor to the first or last one."""
        self._go(0 if direction < 0 else len(self._experiments) - 1)
