"""A program in a pseudo-terminal, and what stands on its screen: enough of a terminal for what Textual writes."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.cells import get_character_cell_size

_TOKENS = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<arguments>[0-9:;<=>?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]P^_].*?(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-Z\\^-~]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])",
    re.DOTALL,
)
_UNFINISHED = 4_096  # characters that may wait for the end of a sequence
_KEPT = 16_384  # bytes
_TICKS = os.sysconf("SC_CLK_TCK")


class Screen:
    """A grid of characters with their styles. Style is the sequence that set it: only good to see that it changed."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._column = self._line = 0
        self._style = ""
        self._clear()

    def feed(self, data: bytes) -> None:
        """Take in what was written."""
        text = self._rest + self._decoder.decode(data)
        at = 0
        while at < len(text):
            found = _TOKENS.match(text, at)
            if found is None:
                if len(text) - at < _UNFINISHED:
                    break
                at += 1
                continue
            at = found.end()
            if found["text"]:
                self._write(found["text"])
            elif found["final"]:
                self._obey(found["arguments"], found["final"])
            elif found["control"]:
                self._control(found["control"])
        self._rest = text[at:]

    def row(self, line: int) -> str:
        """Return the text of a line."""
        return "".join(self.glyphs[line])

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(map("".join, self.glyphs))

    def _clear(self) -> None:
        self.glyphs = [[" "] * self.columns for _ in range(self.lines)]
        self.styles = [[""] * self.columns for _ in range(self.lines)]

    def _write(self, text: str) -> None:
        for glyph in text:
            width = get_character_cell_size(glyph)
            if width and self._line < self.lines and self._column + width <= self.columns:
                glyphs, styles = self.glyphs[self._line], self.styles[self._line]
                for cell in range(width):
                    glyphs[self._column + cell] = "" if cell else glyph
                    styles[self._column + cell] = self._style
            self._column += width

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._line = min(self._line + 1, self.lines - 1)

    def _obey(self, arguments: str, final: str) -> None:
        if final == "m":
            self._style = arguments
        elif final in "Hf":
            numbers = [int(part or 1) for part in (arguments or "1").split(";")]
            self._line, self._column = numbers[0] - 1, (numbers[1] if len(numbers) > 1 else 1) - 1
        elif final == "C":
            self._column += int(arguments or 1)
        elif final == "J":
            self._clear()
        elif final == "K":
            glyphs = self.glyphs[self._line]
            glyphs[self._column :] = [" "] * (self.columns - self._column)


class PseudoTerminal:
    """A program in a terminal of its own. A thread reads what it writes, puts it on `screen`, and tells `seen`."""

    def __init__(
        self, command: Sequence[str], columns: int, lines: int, environment: Mapping[str, str] | None = None
    ) -> None:
        self.screen = Screen(columns, lines)
        self.received = 0  # bytes
        self._latest = b""
        self.changed = threading.Condition()  # guards `screen`
        self.seen: Callable[[Screen, float], None] | None = None  # called with time.time() after each change
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            others = ("NO_COLOR", "ENGINE_DB", "COLUMNS", "LINES")  # the last two tell of another terminal
            kept = {name: value for name, value in os.environ.items() if name not in others}
            chosen = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8", **(environment or {})}
            os.execve(command[0], list(command), {**kept, **chosen})
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def press(self, keys: str) -> None:
        """Type these characters."""
        os.write(self._terminal, keys.encode())

    def wait(self, holds: Callable[[Screen], bool], seconds: float = 60.0) -> float | None:
        """Wait until something holds of the screen; return how long that took in seconds, null if it never did."""
        began = time.monotonic()
        with self.changed:
            while not holds(self.screen):
                left = began + seconds - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    return None
        return time.monotonic() - began

    def shows(self, *texts: str, seconds: float = 60.0) -> float:
        """Wait until all of these stand on the screen; return the seconds. Ends the program when they never do."""
        found = self.wait(lambda screen: all(text in screen.text() for text in texts), seconds)
        if found is None:
            sys.exit(f"{' and '.join(texts)} did not come:\n{self.said()}")
        return found

    def said(self) -> str:
        """Return what stands on the screen; of a program that has ended, the last that it wrote."""
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                return self.screen.text()
        return _TOKENS.sub(lambda found: found["text"] or "\n", self._latest.decode("utf-8", "replace"))

    def cpu_seconds(self) -> float:
        """Return the processor time that the program has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident(self) -> float:
        """Return the memory that the program holds, in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def close(self) -> None:
        """End the program, at once if it must be."""
        give_up = time.monotonic() + 5
        with contextlib.suppress(ChildProcessError, ProcessLookupError):  # it has ended
            os.kill(self.pid, signal.SIGTERM)
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > give_up:
                    os.kill(self.pid, signal.SIGKILL)
                time.sleep(0.02)
        self._thread.join(5)
        os.close(self._terminal)

    def _read(self) -> None:
        while True:
            try:
                select.select([self._terminal], [], [])
                data = os.read(self._terminal, 65_536)
            except OSError:
                return
            if not data:
                return
            now = time.time()
            with self.changed:
                self.received += len(data)
                self._latest = (self._latest + data)[-_KEPT:]
                self.screen.feed(data)
                if self.seen is not None:
                    self.seen(self.screen, now)
                self.changed.notify_all()
