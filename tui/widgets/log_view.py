"""The log of one rank: a line-API view over `LogFile`, following the end unless scrolled away."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import on, work
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.telemetry.records import Level
from engine.telemetry.states import State
from tui.actions import table
from tui.canvas.charset import current
from tui.logs.file import MOST_LINES, LogFile
from tui.logs.levels import Shown, level_of
from tui.logs.rows import LogRows
from tui.logs.times import LogTimes, Moment
from tui.theme import glyph
from tui.widgets.kept_style import KeptStyle
from tui.widgets.telling import Told

RANGES = (None, 1, 5, 15, 30, 60)  # minutes, by digit; null: all, from the end
_POLL_SECONDS = 0.5
_GUTTER = 2  # cells: how bad a line is
_CLOCK = 10  # cells


class LogView(ScrollView, KeptStyle, can_focus=True):
    """Shows a file; everything in it is text, nothing is obeyed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        f"log--{part}" for part in ("error", "warning", "partial", "match", "note", "mark", "clock", "guess")
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home,g", "oldest", "beginning", show=False),
        Binding("end,G", "newest", "end", show=False),
        Binding("j", "scroll_down", "line down", show=False),
        Binding("k", "scroll_up", "line up", show=False),
        *table.bindings("log"),
    ]
    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        padding: 0 1 0 0;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        .log--error { color: $text-error; }
        .log--warning { color: $text-warning; }
        .log--partial { color: $foreground 70%; }
        .log--match { background: $warning; color: $background; }
        .log--note { color: $foreground 50%; text-style: italic; }
        .log--mark { color: $accent; }
        .log--clock { color: $foreground 55%; }
        .log--guess { color: $foreground 30%; }
    }
    """

    following = var(True)

    class Changed(Message):
        """The file, what is found in it, how it is shown, or whether the end is followed changed."""

    class _Read(Message):
        def __init__(self, log: LogFile, older: int) -> None:
            super().__init__()
            self.log, self.older = log, older

    def __init__(
        self, *, id: str | None = None, time_of_step: Callable[[int], float | None] = lambda step: None
    ) -> None:
        """time_of_step: when a step was logged, in seconds since the epoch."""
        super().__init__(id=id)
        self.lines: list[str] = []
        self.pattern: re.Pattern[str] | None = None
        self.matches: list[int] = []
        self.wraps = False
        self.shows_times = False
        self.shown = Shown.ALL
        self.minutes: int | None = None
        self._awaited = True  # one may still come, where there is none
        self._time_of_step = time_of_step
        self._match = -1
        self._log: LogFile | None = None
        self._times = LogTimes(time_of_step)
        self._moments: list[Moment | None] = []  # of the lines, if they are wanted
        self._offsets: list[int] = []
        self._marked: dict[int, float] = {}  # offset of a line → when the mark below it was made
        self._rows = LogRows([], None, None, ())
        self._busy = False

    @property
    def path(self) -> Path | None:
        """The file on show."""
        return self._log.path if self._log else None

    def on_mount(self) -> None:
        self.set_interval(_POLL_SECONDS, self._poll_if_seen)

    def on_resize(self) -> None:
        if self.wraps:
            self._lay_out()
        elif self.following:  # the end, and the thumb, are elsewhere now: a bar below takes a row, too
            self.scroll_end(animate=False, force=True)

    def open(self, path: Path | None) -> None:
        """Show another file, from its end; null shows none."""
        if path == self.path:
            return
        self._log = LogFile(path) if path else None
        self._times, self._marked, self._offsets = LogTimes(self._time_of_step), {}, []
        self._set_lines([])
        self.following = True
        self.poll()

    def await_one(self, awaited: bool) -> None:
        """Say, where there is none, whether one may still come."""
        if awaited != self._awaited:
            self._awaited = awaited
            self.refresh()

    def poll(self) -> None:
        """Read what is new, in a thread."""
        if self._log is not None and not self._busy:
            self._busy = True
            self._read(self._log, older=False)

    def _poll_if_seen(self) -> None:
        if self.screen.is_current:
            self.poll()

    def start_over(self) -> None:
        """Show all lines in full, as at first; nothing is searched for."""
        self.pattern, self.minutes = None, None
        self.wraps, self.shows_times, self.shown = False, False, Shown.ALL
        self._lay_out()

    def search(self, text: str) -> None:
        """Mark all lines in memory that contain `text`, whatever its case; an empty text marks none."""
        self.pattern = re.compile(re.escape(text), re.IGNORECASE) if text else None
        self._find()
        self._match = len(self.matches)
        self.next_match(-1)

    def next_match(self, direction: int) -> None:
        """Go to the next (1) or previous (-1) line that matches; before the first one, read further back."""
        if not self.matches:
            if self.pattern is not None and direction < 0:
                self._read_older()
        elif self._match + direction < 0 and self._log is not None and self._log.has_older:
            self._read_older()
        else:
            self._match = min(max(self._match + direction, 0), len(self.matches) - 1)
            self.following = False
            row = self._rows.first_row_of(self.matches[self._match])
            self.scroll_to(y=max(0, row - self.size.height // 2), animate=False)
        self._tell()

    def toggle_following(self) -> None:
        """Stay at the end, or stop to read."""
        if self.following:
            self.following = False
        else:
            self.action_newest()

    def toggle_wrap(self) -> None:
        """Show the ends of long lines in further rows, or not at all."""
        self.wraps = not self.wraps
        self.scroll_to(x=0, animate=False)
        self._lay_out()

    def toggle_times(self) -> None:
        """Show when each line was written, or not."""
        self.shows_times = not self.shows_times
        self._lay_out()

    def next_levels(self) -> None:
        """Show all lines, those that warn, or errors alone."""
        self.shown = self.shown.following
        self._lay_out()

    def choose_range(self, minutes: int | None) -> None:
        """Show the lines of the last minutes that the log tells of; null: all."""
        self.minutes = minutes
        if minutes is None:
            self.action_newest()
        self._lay_out()
        if minutes is not None and not any(self._moments):
            self.minutes = None
            self._lay_out()
            self.post_message(
                Told("No line of this log tells when it was written; of what comes now it is known.", "warning")
            )
        self._reach_back()

    def mark(self) -> None:
        """Draw a rule below the last line, so that one sees what comes after it."""
        if self._offsets:
            self._marked[self._offsets[-1]] = time.time()
            self._lay_out()

    @property
    def found(self) -> str:
        """Say which of how many matches is shown; empty without a search."""
        if self.pattern is None:
            return ""
        return f"{self._match + 1}/{len(self.matches)} lines match" if self.matches else "no line in memory matches"

    @property
    def notes(self) -> tuple[str, ...]:
        """Say how the log is shown, as far as that is not how it is shown at first."""
        parts = [self.shown.value] if self.shown is not Shown.ALL else []
        if self.minutes is not None:
            parts.append(f"last {self.minutes} min" if self.minutes < 60 else "last hour")
        parts += ["wrapped"] if self.wraps else []
        parts += [self.found] if self.found else []
        return (*parts, "following" if self.following else "f follows")

    def action_newest(self) -> None:
        """Go to the end and follow it."""
        self.following = True
        if self._log is not None:
            self._log.to_end()
        self.poll()
        self.scroll_end(animate=False)
        self._tell()

    def action_oldest(self) -> None:
        """Go to the first line in memory, then further back."""
        self.following = False
        if self.scroll_offset.y == 0:
            self._read_older()
        self.scroll_home(animate=False)
        self._tell()

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if new_value < old_value and self.following and not self.is_vertical_scroll_end:
            self.following = False
            self._tell()
        if new_value <= 0 < old_value and self.minutes is None:
            self._read_older()

    def render_line(self, y: int) -> Strip:
        """Return one row of the window."""
        scroll_x, scroll_y = self.scroll_offset
        number = y + scroll_y
        width = self.scrollable_content_region.width
        if number >= len(self._rows):
            note = self._note() if y == 0 and not len(self._rows) else ""
            return Strip([Segment(note, self._ink("note"))]).adjust_cell_length(width, self.rich_style)
        row = self._rows.row(number)
        if row.is_mark:
            clock = time.strftime("%H:%M:%S", time.localtime(self._marked[self._offsets[row.line]]))
            rule = current().rule
            text = f"{rule * 2} marked {clock} "
            return Strip([Segment(text + rule * max(0, width - len(text)), self._ink("mark"))])
        room = self._room(width)
        first = row.first if self.wraps else scroll_x
        body = Strip(self._segments(row.line)).crop(first, first + room)
        return Strip([*self._margin(row.line, row.first), *body]).adjust_cell_length(width, self.rich_style)

    @work(thread=True, group="log")
    def _read(self, log: LogFile, *, older: bool) -> None:
        count = log.read_older() if older else 0
        if older or log.poll():
            self.post_message(self._Read(log, count))
        else:
            self._busy = False

    def _read_older(self) -> None:
        if self._log is not None and self._log.has_older and not self._busy:
            self._busy = True
            self._read(self._log, older=True)

    @on(_Read)
    def _show(self, message: _Read) -> None:
        self._busy = False
        if message.log is not self._log:
            self.poll()
            return
        log, before = message.log, self._offsets
        self._offsets = log.offsets
        if before and not message.older:
            self._times.came([offset for offset in self._offsets if offset > before[-1]], time.time())
        at = self.scroll_offset.y
        self._set_lines([*log.lines, log.partial] if log.partial else list(log.lines))
        if message.older:
            self._match += len(self.matches) and sum(index < message.older for index in self.matches)
            self.scroll_to(y=at + self._rows.first_row_of(message.older), animate=False, force=True)
            self._reach_back()
        elif self.following:
            self.scroll_end(animate=False, force=True)
        self._tell()

    def _reach_back(self) -> None:
        """Read what is older while the chosen minutes are not all in memory."""
        oldest = next((moment for moment in self._moments if moment is not None), None)
        newest = next((moment for moment in reversed(self._moments) if moment is not None), None)
        if self.minutes is None or oldest is None or newest is None or len(self.lines) >= MOST_LINES // 2:
            return
        if oldest.seconds > newest.seconds - 60 * self.minutes:
            self._read_older()

    def _set_lines(self, lines: list[str]) -> None:
        self.lines = lines
        self._lay_out()

    def _lay_out(self) -> None:
        wanted = self.shows_times or self.minutes is not None
        self._moments = self._times.moments(self.lines, self._offsets) if wanted else []
        marked = {index for index, offset in enumerate(self._offsets) if offset in self._marked} if self._marked else ()
        room = self._room(self.scrollable_content_region.width)
        self._rows = LogRows(self.lines, self._chosen(), room if self.wraps and room > 0 else None, marked)
        self.virtual_size = Size(self._rows.widest + _GUTTER + (_CLOCK if self.shows_times else 0), len(self._rows))
        self._find()
        if self.following:
            self.scroll_end(animate=False, force=True)
        self._tell()

    def _chosen(self) -> list[int] | None:
        """Return the indices of the lines that are shown; null for all."""
        if self.shown is Shown.ALL and self.minutes is None:
            return None
        chosen = list(range(len(self.lines)))
        if self.minutes is not None:
            newest = next((moment.seconds for moment in reversed(self._moments) if moment is not None), 0.0)
            since = newest - 60 * self.minutes
            chosen = [i for i in chosen if (moment := self._moments[i]) is not None and moment.seconds >= since]
        return [index for index in chosen if self.shown.has(level_of(self.lines[index]))]

    def _find(self) -> None:
        pattern = self.pattern
        self.matches = [index for index, line in enumerate(self.lines) if pattern.search(line)] if pattern else []
        self.refresh()

    def _tell(self) -> None:
        self.post_message(self.Changed())

    def _note(self) -> str:
        left = " " * _GUTTER
        if self.lines:
            return f"{left}no line of {self.shown.value}"
        return f"{left}no log yet" if self._awaited or self._log is not None else f"{left}the run left no log here"

    def _ink(self, part: str) -> Style:
        return self.get_component_rich_style(f"log--{part}")

    def _room(self, width: int) -> int:
        return width - _GUTTER - (_CLOCK if self.shows_times else 0)

    def _margin(self, index: int, first: int) -> list[Segment]:
        """Return what stands left of a line: how bad it is, and when it was written."""
        level = level_of(self.lines[index]) if first == 0 else Level.INFO
        sign = {Level.ERROR: glyph(State.FAILED), Level.WARNING: "!"}.get(level, " ")
        ink = self._ink(level.value) if level is not Level.INFO else self.rich_style
        segments = [Segment(f"{sign} ", ink)]
        if self.shows_times:
            moment = self._moments[index] if first == 0 and index < len(self._moments) else None
            clock = "" if moment is None else time.strftime("%H:%M:%S", time.localtime(moment.seconds))
            segments.append(Segment(f"{clock:<{_CLOCK}}", self._ink("clock" if moment and moment.own else "guess")))
        return segments

    def _segments(self, index: int) -> list[Segment]:
        line = self.lines[index]
        level = level_of(line)
        style = self.rich_style
        if self._log is not None and self._log.partial and index == len(self.lines) - 1:
            style = self._ink("partial")
        elif level is not Level.INFO:
            style = self._ink(level.value)
        if self.pattern is None:
            return [Segment(line, style)]
        match_style, segments, at = self._ink("match"), [], 0
        for match in self.pattern.finditer(line):
            segments += [Segment(line[at : match.start()], style), Segment(match.group(), match_style)]
            at = match.end()
        return [*segments, Segment(line[at:], style)]
