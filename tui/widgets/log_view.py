"""The log of one rank: a line-API view over `LogFile`, following the end unless scrolled away."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import on, work
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.reactive import var
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.log_file import LogFile

_POLL_SECONDS = 0.5
_ERROR = re.compile(r"\b(error|exception|traceback|fatal|killed)\b", re.IGNORECASE)
_WARNING = re.compile(r"\bwarn(ing)?\b", re.IGNORECASE)


class LogView(ScrollView, can_focus=True):
    """Shows a file; everything in it is text, nothing is obeyed."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "log--error",
        "log--warning",
        "log--partial",
        "log--match",
        "log--note",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("home,g", "oldest", "beginning", show=False),
        Binding("end,G", "newest", "end", show=False),
        Binding("j", "scroll_down", "line down", show=False),
        Binding("k", "scroll_up", "line up", show=False),
    ]
    DEFAULT_CSS = """
    LogView {
        height: 1fr;
        padding: 0 1;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        .log--error { color: $text-error; }
        .log--warning { color: $text-warning; }
        .log--partial { color: $foreground 70%; }
        .log--match { background: $warning; color: $background; }
        .log--note { color: $foreground 50%; text-style: italic; }
    }
    """

    following = var(True)

    class Changed(Message):
        """The file, what is found in it, or whether the end is followed changed."""

    class _Read(Message):
        def __init__(self, log: LogFile, older: int) -> None:
            super().__init__()
            self.log, self.older = log, older

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: list[str] = []
        self.pattern: re.Pattern[str] | None = None
        self.matches: list[int] = []
        self._match = -1
        self._log: LogFile | None = None
        self._busy = False
        self._note = "no log yet"

    @property
    def path(self) -> Path | None:
        """The file on show."""
        return self._log.path if self._log else None

    def on_mount(self) -> None:
        self.set_interval(_POLL_SECONDS, self.poll)

    def open(self, path: Path | None) -> None:
        """Show another file, from its end; null shows none."""
        if path == self.path:
            return
        self._log = LogFile(path) if path else None
        self._set_lines([])
        self.following = True
        self.poll()

    def poll(self) -> None:
        """Read what is new, in a thread."""
        if self._log is not None and not self._busy:
            self._busy = True
            self._read(self._log, older=False)

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
            self.scroll_to(y=max(0, self.matches[self._match] - self.size.height // 2), animate=False)
        self._tell()

    def toggle_following(self) -> None:
        """Stay at the end, or stop to read."""
        if self.following:
            self.following = False
        else:
            self.action_newest()

    @property
    def found(self) -> str:
        """Say which of how many matches is shown; empty without a search."""
        if self.pattern is None:
            return ""
        return f"{self._match + 1}/{len(self.matches)} lines match" if self.matches else "no line in memory matches"

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
        if new_value <= 0 < old_value:
            self._read_older()

    def render_line(self, y: int) -> Strip:
        """Return one line of the window."""
        scroll_x, scroll_y = self.scroll_offset
        index = y + scroll_y
        width = self.scrollable_content_region.width
        if not self.lines:
            note = Segment(self._note if y == 0 else "", self.get_component_rich_style("log--note"))
            return Strip([note]).adjust_cell_length(width, self.rich_style)
        if index >= len(self.lines):
            return Strip.blank(width, self.rich_style)
        strip = Strip(self._segments(index))
        return strip.crop(scroll_x, scroll_x + width).adjust_cell_length(width, self.rich_style)

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
        log = message.log
        self._set_lines([*log.lines, log.partial] if log.partial else list(log.lines))
        if message.older:
            self._match += len(self.matches) and sum(index < message.older for index in self.matches)
            self.scroll_to(y=self.scroll_offset.y + message.older, animate=False, force=True)
        elif self.following:
            self.scroll_end(animate=False, force=True)
        self._tell()

    def _set_lines(self, lines: list[str]) -> None:
        self.lines = lines
        self._find()
        width = max((cell_len(line) for line in lines), default=0)
        self.virtual_size = Size(width, len(lines))
        self.refresh()

    def _find(self) -> None:
        pattern = self.pattern
        self.matches = [index for index, line in enumerate(self.lines) if pattern.search(line)] if pattern else []
        self.refresh()

    def _tell(self) -> None:
        self.post_message(self.Changed())

    def _segments(self, index: int) -> list[Segment]:
        line = self.lines[index]
        style = self.rich_style
        if self._log is not None and self._log.partial and index == len(self.lines) - 1:
            style = self.get_component_rich_style("log--partial")
        elif _ERROR.search(line):
            style = self.get_component_rich_style("log--error")
        elif _WARNING.search(line):
            style = self.get_component_rich_style("log--warning")
        if self.pattern is None:
            return [Segment(line, style)]
        match_style, segments, at = self.get_component_rich_style("log--match"), [], 0
        for match in self.pattern.finditer(line):
            segments += [Segment(line[at : match.start()], style), Segment(match.group(), match_style)]
            at = match.end()
        return [*segments, Segment(line[at:], style)]
