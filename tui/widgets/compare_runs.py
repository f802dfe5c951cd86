"""The runs that are compared: letter, marker and colour of each, how it stands, and its value at the crosshair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Blur, Click, Focus
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip

from engine.telemetry.states import State
from tui.canvas.charset import current
from tui.comparison.reading import ComparedRun
from tui.text.cells import align
from tui.text.safe import visible
from tui.theme import SERIES_COLORS, STATE_COLORS, glyph
from tui.widgets.kept_style import KeptStyle

_SERIES_RULES = "\n".join(
    f"        .compare-runs--line-{place} {{ color: {color}; text-style: bold; }}"
    for place, color in enumerate(SERIES_COLORS)
)
_STATE_RULES = "\n".join(
    f"        .compare-runs--state-{state.value} {{ color: {color}; }}" for state, color in STATE_COLORS.items()
)
_GAP = 2
_LEAST_COLUMN = 24  # cells from which each run has lines of its own
_SHOWN = 11  # cells of a value beside a run, where they stand in a row
Part = tuple[str, str]  # text, ink


class CompareRuns(KeptStyle, can_focus=True):
    """A run in one to four lines, as there is room; in a wide and low place all in a row, broken where it ends."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"compare-runs--{ink}" for ink in ("text", "quiet", "cursor", "cursor-blurred")),
        *(f"compare-runs--line-{place}" for place in range(len(SERIES_COLORS))),
        *(f"compare-runs--state-{state.value}" for state in State),
    }
    DEFAULT_CSS = f"""
    CompareRuns {{
        .compare-runs--text {{ color: $foreground; }}
        .compare-runs--quiet {{ color: $foreground 60%; }}
        .compare-runs--cursor {{ background: $block-cursor-background; text-style: $block-cursor-text-style; }}
        .compare-runs--cursor-blurred {{
            background: $block-cursor-blurred-background;
            text-style: $block-cursor-blurred-text-style;
        }}
{_SERIES_RULES}
{_STATE_RULES}
    }}
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down,j", "move(1)", "next run", show=False),
        Binding("up,k", "move(-1)", "previous run", show=False),
    ]

    class Moved(Message):
        """The cursor stands on another run."""

    class Opened(Message):
        """A run was clicked twice."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: Sequence[ComparedRun] = ()
        self._values: Mapping[str, str] = {}
        self._cursor = 0
        self._in_a_row = False
        self._lines: list[list[Part]] = []  # that tell of the runs, as they were shown last

    @property
    def selected(self) -> ComparedRun | None:
        """The run under the cursor."""
        return self._runs[self._cursor] if self._runs else None

    @property
    def other(self) -> int:
        """The place of the run that is held against the baseline; 0 for the checkpoints of the baseline itself."""
        return self._cursor

    def show(self, runs: Sequence[ComparedRun], values: Mapping[str, str], *, in_a_row: bool) -> None:
        """Show these. values: a short text of each run, by its letter."""
        count, before = len(self._runs), (len(self._runs), self._in_a_row, bool(self._values))
        told, self._runs, self._values, self._in_a_row = self._values, runs, values, in_a_row
        self._cursor = min(self._cursor if count else 1, max(0, len(runs) - 1))
        if before != (len(runs), in_a_row, bool(values)):
            self.refresh(layout=True)
        lines, self._lines = self._lines, self._told_lines()
        changed = [y for y, (old, new) in enumerate(zip(lines, self._lines, strict=False)) if old != new]
        if len(lines) != len(self._lines) or (in_a_row and (changed or told != values)):
            self.refresh()
        elif changed:
            left, top = self.gutter.top_left
            self.refresh(*(Region(left, top + y, self.content_region.width, 1) for y in changed))

    def move(self, by: int) -> None:
        """Move the cursor."""
        self.select(self._cursor + by)

    def turn(self) -> None:
        """Put the cursor on the next run; after the last one comes the first."""
        if self._runs:
            self.select((self._cursor + 1) % len(self._runs))

    def select(self, place: int) -> None:
        """Put the cursor on a run."""
        place = min(max(place, 0), len(self._runs) - 1)
        if self._runs and place != self._cursor:
            self._cursor = place
            self.refresh()
            self.post_message(self.Moved())

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines they need in a row."""
        return max(1, len(self._rows(width)))

    def render_line(self, y: int) -> Strip:
        """Return a line: of a run, or of several in a row."""
        width = self.content_region.width
        if self._in_a_row:
            return self._row(y, width)
        lines = self._lines_each()
        place, line = divmod(y, lines)
        if place >= len(self._runs):
            return Strip.blank(width, self.rich_style)
        ground = self._ground(place) if line < self._told else self.rich_style.background_style
        return Strip(self._segments(self._parts(self._runs[place], line, width), ground)).adjust_cell_length(
            width, ground
        )

    def _told_lines(self) -> list[list[Part]]:
        width, lines = self.content_region.width, self._lines_each()
        return [self._parts(run, line, width) for run in self._runs for line in range(lines)]

    @property
    def _told(self) -> int:
        """How many lines tell of a run, where there is room."""
        return 3 if any(self._values.values()) else 2

    def _lines_each(self) -> int:
        """Return the lines that a run has, with an empty one after it where there is room."""
        return min(self._told + 1, max(1, self.content_region.height // max(1, len(self._runs))))

    def _parts(self, run: ComparedRun, line: int, width: int) -> list[Part]:
        state = run.experiment.state
        if line == 0:
            standing = f"{glyph(state)} {state.value}"
            room = width - cell_len(standing) - 5
            return [
                (f"{run.letter} {current().markers[run.place]} ", f"line-{run.place}"),
                (align(run.id, max(room, 8)) + " ", "text"),
                (standing, f"state-{state.value}"),
            ]
        if line == 1:
            role = "baseline" if run.place == 0 else ""
            name = visible(run.experiment.name) if run.experiment.name != run.id else ""
            room = width - 4 - (cell_len(role) + 1 if role else 0)
            return [("    ", "quiet"), (align(name, max(room, 0)), "quiet"), (f" {role}" if role else "", "text")]
        return [("    ", "quiet"), (self._values.get(run.letter, "") if line < self._told else "", f"line-{run.place}")]

    def _rows(self, width: int) -> list[list[int]]:
        """Return which runs stand in which line, if they stand in a row."""
        size = self._entry_size()
        each = max(1, (width + _GAP) // (size + _GAP))
        places = list(range(len(self._runs)))
        return [places[start : start + each] for start in range(0, len(places), each)]

    def _entry_size(self) -> int:
        longest = max((cell_len(run.id) for run in self._runs), default=8)
        return 4 + longest + (1 + _SHOWN if self._values else 2)

    def _row(self, y: int, width: int) -> Strip:
        rows = self._rows(width)
        if y >= len(rows):
            return Strip.blank(width, self.rich_style)
        segments: list[Segment] = []
        for place in rows[y]:
            run, ground = self._runs[place], self._ground(place)
            state = run.experiment.state
            size = self._entry_size()
            told = self._values.get(run.letter, "").partition("  ")[0] if self._values else glyph(state)
            parts: list[Part] = [
                (f"{run.letter} {current().markers[place]} ", f"line-{place}"),
                (align(run.id, size - 4 - (1 + _SHOWN if self._values else 2)) + " ", "text"),
                (
                    align(told, _SHOWN if self._values else 1),
                    f"line-{place}" if self._values else f"state-{state.value}",
                ),
            ]
            segments += [*self._segments(parts, ground), Segment(" " * _GAP, self.rich_style)]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _segments(self, parts: Sequence[Part], ground: Style) -> list[Segment]:
        return [Segment(text, self.get_component_rich_style(f"compare-runs--{ink}") + ground) for text, ink in parts]

    def _ground(self, place: int) -> Style:
        if place != self._cursor:
            return self.rich_style.background_style
        style = self.get_component_rich_style(
            "compare-runs--cursor" if self.has_focus else "compare-runs--cursor-blurred"
        )
        return Style(bgcolor=style.bgcolor, bold=style.bold, reverse=(self.app.no_color and self.has_focus) or None)

    def on_focus(self, event: Focus) -> None:
        self.refresh()

    def on_blur(self, event: Blur) -> None:
        self.refresh()

    def on_click(self, event: Click) -> None:
        offset = event.get_content_offset(self)
        if offset is None:
            return
        if self._in_a_row:
            rows, size = self._rows(self.content_region.width), self._entry_size() + _GAP
            at = offset.x // size
            place = rows[offset.y][at] if offset.y < len(rows) and at < len(rows[offset.y]) else None
        else:
            place = offset.y // self._lines_each()
        if place is not None and place < len(self._runs):
            self.select(place)
            if event.chain == 2:
                self.post_message(self.Opened())

    def action_move(self, by: int) -> None:
        """Move the cursor."""
        self.move(by)
