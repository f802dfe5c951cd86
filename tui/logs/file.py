"""A window on the lines of a growing log, in bounded memory however large the file is."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engine.store.log_copies import Hole, hole_start, left_out, pieces
from tui.text.safe import log_line

BLOCK = 256 * 1024  # bytes read at once
MOST_LINES = 8_000  # kept in memory
LONGEST_LINE = 4_096  # bytes of a line that are shown
_ENOUGH_LINES = 100  # the first look at a file of long lines reads back for as many
_FARTHEST_LINE_START = 64 * 1024 * 1024  # bytes; a longer line is shown in pieces


@dataclass(slots=True)
class LogFile:
    """The newest lines of `path`, extended by `poll` and, towards the beginning, by `read_older`.

    `lines` are safe to show. `partial` is the line that has no end yet. What was left out of the copy is one line.
    Where the file was replaced or cut short, reading begins again.
    """

    path: Path
    lines: list[str] = field(default_factory=list)
    partial: str = ""
    skipped: int = 0  # bytes passed over because the log grew faster than it was read
    at_end: bool = True  # False once reading back pushed the newest lines out of memory
    _offsets: list[int] = field(default_factory=list)  # of the first byte of each line
    _start: int = 0  # offset of the first byte that lines tell of
    _end: int = 0  # offset of the first byte not read
    _pending: bytes = b""  # the partial line, its middle left out when it is long
    _pending_size: int = 0
    _in_cut_line: bool = False
    _identity: tuple[int, int] | None = None

    @property
    def has_older(self) -> bool:
        """Whether the file goes on before the first line."""
        return self._start > 0

    @property
    def offsets(self) -> list[int]:
        """The offset of the first byte of each line, that of the partial one at the end if there is one."""
        return [*self._offsets, self._end - self._pending_size] if self.partial else list(self._offsets)

    def poll(self) -> bool:
        """Read what was appended since the last call; returns whether anything changed. A missing file is empty."""
        try:
            with self.path.open("rb") as file:
                return self._catch_up(file.fileno())
        except OSError:
            changed = bool(self.lines or self.partial)
            self._begin_at(0)
            self._identity = None
            return changed

    def read_older(self) -> int:
        """Put the lines before the first one in front; returns how many came. Beyond the bound the newest leave."""
        if not self.has_older:
            return 0
        try:
            with self.path.open("rb") as file:
                lines, offsets = self._lines_before(file.fileno())
        except OSError:
            return 0
        self.lines[:0], self._offsets[:0], self._start = lines, offsets, offsets[0]
        if len(self.lines) > MOST_LINES:
            del self.lines[MOST_LINES:], self._offsets[MOST_LINES:]
            self.at_end, self.partial = False, ""
        return len(lines)

    def to_end(self) -> None:
        """Return to the newest lines at the next `poll`."""
        if not self.at_end:
            self._identity = None

    def _catch_up(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        size, identity = status.st_size, (status.st_dev, status.st_ino)
        if identity != self._identity or size < self._end:
            self._identity = identity
            self._begin_at(max(0, size - BLOCK))
            self._append(descriptor, size)
            while len(self.lines) < _ENOUGH_LINES and self.read_older():
                pass
            return True
        if size == self._end or not self.at_end:
            return False
        if size - self._end > 4 * BLOCK:
            self.skipped += size - BLOCK - self._end
            self._begin_at(size - BLOCK)
        self._append(descriptor, size)
        return True

    def _begin_at(self, offset: int) -> None:
        """Forget all lines; an offset other than 0 stands inside a line, whose rest is passed over."""
        self.lines, self._offsets, self.partial, self.at_end = [], [], "", True
        self._start = self._end = offset
        self._pending, self._pending_size, self._in_cut_line = b"", 0, offset > 0

    def _append(self, descriptor: int, size: int) -> None:
        for piece in pieces(descriptor, self._end, size):
            if isinstance(piece, Hole):
                self._take_hole(piece.size)
            else:
                self._take(piece)
        self.partial = _shown(self._pending, self._pending_size) if self._pending else ""
        excess = len(self.lines) - MOST_LINES
        if excess > 0:
            del self.lines[:excess], self._offsets[:excess]
            self._start = self._offsets[0]

    def _take(self, data: bytes) -> None:
        offset = self._end
        self._end += len(data)
        if self._in_cut_line:
            first, newline, rest = data.partition(b"\n")
            if newline:
                self._start = offset = offset + len(first) + 1
                data, self._in_cut_line = rest, False
                self._pending, self._pending_size = b"", 0
        *whole, last = data.split(b"\n")
        for line in whole:
            self._add(_shown(self._pending + line, self._pending_size + len(line)), offset - self._pending_size)
            offset += len(line) + 1
        self._pending_size += len(last)
        self._pending = _without_middle(self._pending + last)

    def _take_hole(self, size: int) -> None:
        offset = self._end
        self._end += size
        if self._in_cut_line:
            # It may have begun earlier: `read_older` finds the whole of it.
            self._start, self._in_cut_line = self._end, False
            self._pending, self._pending_size = b"", 0
            return
        if self._pending_size:
            self._add(_shown(self._pending, self._pending_size), offset - self._pending_size)
        self._add(left_out(size, self.path), offset)

    def _add(self, line: str, offset: int) -> None:
        self.lines.append(line)
        self._offsets.append(offset)
        self._pending, self._pending_size = b"", 0

    def _lines_before(self, descriptor: int) -> tuple[list[str], list[int]]:
        """Return the lines that end in the block before the first line, at least one."""
        begin, end = max(0, self._start - BLOCK), self._start
        block = b""
        for piece in pieces(descriptor, begin, end):
            block = b"" if isinstance(piece, Hole) else block + piece
        if not block:
            offset = hole_start(descriptor, end)
            return [left_out(end - offset, self.path)], [offset]
        inside = begin > 0 and len(block) == end - begin  # it may begin inside a line
        begin = end - len(block)
        cut = block.find(b"\n") + 1 if inside else 0
        if inside and cut in (0, len(block)):
            # one line fills the block: find where it starts, without keeping it
            begin = _line_start(descriptor, begin)
            size = end - begin - block.endswith(b"\n")
            return [_shown(os.pread(descriptor, min(size, LONGEST_LINE), begin), size)], [begin]
        offset, lines, offsets = begin + cut, [], []
        for line in block[cut:].removesuffix(b"\n").split(b"\n"):
            lines.append(_shown(line, len(line)))
            offsets.append(offset)
            offset += len(line) + 1
        return lines[-MOST_LINES:], offsets[-MOST_LINES:]


def _line_start(descriptor: int, offset: int) -> int:
    """Return the offset of the first byte of the line that holds `offset`, or an earlier byte of a very long one."""
    limit = max(0, offset - _FARTHEST_LINE_START)
    while offset > limit:
        at = begin = max(limit, offset - BLOCK)
        found = None
        for piece in pieces(descriptor, begin, offset):
            if isinstance(piece, Hole):
                at += piece.size
                found = at
                continue
            newline = piece.rfind(b"\n")
            found = at + newline + 1 if newline >= 0 else found
            at += len(piece)
        if found is not None:
            return found
        offset = begin
    return limit


def _without_middle(line: bytes) -> bytes:
    """Keep of a long line its beginning and, for progress bars redrawn in place, its end."""
    if len(line) <= 2 * LONGEST_LINE:
        return line
    return line[:LONGEST_LINE] + line[-LONGEST_LINE:]


def _shown(line: bytes, size: int) -> str:
    """Return a line of `size` bytes, of which `line` may lack the middle."""
    ending = line[-LONGEST_LINE:].rstrip(b"\r")
    if size > LONGEST_LINE and b"\r" in ending:
        return log_line(ending.partition(b"\r")[2])
    if size <= LONGEST_LINE:
        return log_line(line)
    return f"{log_line(line[:LONGEST_LINE])} … ({size:,} bytes)"
