"""A program in a pseudo-terminal: what it writes and when, what stands on its screen, its memory and its CPU."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from terminal.emulated import Screen, without_sequences

COLUMNS, LINES = 160, 48
# What a terminal of today answers to what it is asked: without an answer some programs wait for seconds.
_ANSWERS = (
    (re.compile(rb"\x1b\[\?2026\$p"), b"\x1b[?2026;2$y"),  # it knows synchronized output
    (re.compile(rb"\x1b\[(0)?c"), b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
    (re.compile(rb"\x1b\]10;\?(\x07|\x1b\\)"), b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
    (re.compile(rb"\x1b\]11;\?(\x07|\x1b\\)"), b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
)
_NOT_PASSED_ON = ("NO_COLOR", "ENGINE_DB", "TMUX", "COLUMNS", "LINES")  # the last two tell of another terminal
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_AT_ONCE = 1 << 16
_TOLD = 16_384  # bytes of the end of what it wrote
_PATIENCE = 60.0  # seconds
_TO_END = 5.0  # seconds


class PtyProgram:
    """One running program, and a thread that reads what it writes; leaving the context ends it."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        columns: int = COLUMNS,
        lines: int = LINES,
        emulated: bool = False,
        answers: bool = True,
    ) -> None:
        """Start it.

        Args:
            command: its words.
            folder: where it works.
            environment: goes over this one's.
            columns: of the terminal.
            lines: of the terminal.
            emulated: what it writes is put on `screen`; see `Screen` for what that understands.
            answers: it is told what the terminal knows when it asks; one that is not, writes a few bytes less a frame.
        """
        self.output = bytearray()  # all that it wrote
        self.changed = threading.Condition()  # guards `output` and the screen
        self.seen: Callable[[Screen, float], None] | None = None  # called with time.time() of each change of the screen
        self._screen = Screen(columns, lines) if emulated else None
        self._answers, self._answered = answers, 0
        self._has_ended = self._is_silent = False
        self._changed_at = time.monotonic()
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
        usual = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
        passed_on, priority = inherited | usual | dict(environment or {}), _priority()
        self.pid, self._controller = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
                _take_priority(priority)
                os.chdir(folder)
                os.execvpe(command[0], list(command), passed_on)
            finally:
                os._exit(127)
        self._thread = threading.Thread(target=self._read, name="terminal", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asked in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, asked)
            give_up = time.monotonic() + _TO_END
            while not self.has_ended and time.monotonic() < give_up:
                time.sleep(0.02)
        self._thread.join(_TO_END)
        os.close(self._controller)

    @property
    def screen(self) -> Screen:
        """What stands on its screen, if it is emulated; hold `changed` while you look at more than one cell."""
        assert self._screen is not None
        return self._screen

    def press(self, keys: str) -> float:
        """Type, and return when (`time.monotonic`)."""
        os.write(self._controller, keys.encode())
        return time.monotonic()

    def read_for(self, seconds: float) -> int:
        """Let it write for so long; return the number of bytes."""
        before = len(self.output)
        time.sleep(seconds)
        return len(self.output) - before

    def wait_for(self, pattern: bytes, since: int = 0, seconds: float = _PATIENCE) -> float:
        """Return when (`time.monotonic`) the pattern stood in what it wrote after `since` bytes.

        Raises TimeoutError with the end of what it wrote.
        """
        wanted = re.compile(pattern)
        when = self._when(lambda: wanted.search(self.output, since) is not None, seconds)
        if when is None:
            raise TimeoutError(f"{pattern!r} is not in what came: {bytes(self.output[since:][-3000:])!r}")
        return when

    def wait_until(self, holds: Callable[[Screen], bool], seconds: float = _PATIENCE) -> float:
        """Return when (`time.monotonic`) something held of the screen. Raises TimeoutError with the screen."""
        when = self._when(lambda: holds(self.screen), seconds)
        if when is None:
            raise TimeoutError(f"what was waited for is not on the screen:\n{self.said()}")
        return when

    def wait(self, holds: Callable[[Screen], bool], seconds: float = _PATIENCE) -> float | None:
        """Wait until something holds of the screen; return how long that took in seconds, null if it never did."""
        began = time.monotonic()
        when = self._when(lambda: holds(self.screen), seconds)
        return None if when is None else when - began

    def shows(self, *texts: str) -> None:
        """Wait until all of these stand on the screen. Ends this program, with the screen, when they never do."""
        if self.wait(lambda screen: all(text in screen.text() for text in texts)) is None:
            sys.exit(f"{' and '.join(texts)} did not come:\n{self.said()}")

    def wait_until_quiet(self, seconds: float = 0.3, at_most: float = 30.0) -> None:
        """Wait until nothing is written for so long."""
        give_up = time.monotonic() + at_most
        while self.read_for(seconds) and time.monotonic() < give_up:
            pass

    def said(self) -> str:
        """Return what stands on the screen; of a program that has ended, the last that it wrote."""
        if not self.has_ended:
            return self.screen.text()
        return without_sequences(self.output[-_TOLD:].decode("utf-8", "replace"))

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        if not self._has_ended:
            self._has_ended = os.waitpid(self.pid, os.WNOHANG) != (0, 0)
        return self._has_ended

    def cpu_seconds(self) -> float:
        """Return the CPU time of it and of all its children, to a hundredth of a second."""
        return sum(_cpu(pid) for pid in _family(self.pid))

    def resident(self) -> float:
        """Return the memory that the program holds, without its children, in MiB."""
        return int(Path(f"/proc/{self.pid}/statm").read_text("utf-8").split()[1]) * _PAGE / 2**20

    def _when(self, holds: Callable[[], bool], seconds: float) -> float | None:
        when = time.monotonic()
        give_up = when + seconds
        with self.changed:
            while not holds():
                left = give_up - time.monotonic()
                if left <= 0 or self._is_silent or not self.changed.wait(left):
                    return None
                when = self._changed_at  # and not now: this thread may have waited for the other one
            return when

    def _read(self) -> None:
        while data := self._take():
            now = time.time()
            with self.changed:
                self.output += data
                if self._screen is not None:
                    self._screen.feed(data)
                    if self.seen is not None:
                        self.seen(self._screen, now)
                self._changed_at = time.monotonic()
                self.changed.notify_all()
            if self._answers:
                self._answer()
        with self.changed:
            self._is_silent = True
            self.changed.notify_all()

    def _take(self) -> bytes:
        """Return what comes next; nothing: it has ended."""
        try:
            return os.read(self._controller, _AT_ONCE)
        except OSError:
            return b""

    def _answer(self) -> None:
        fresh, self._answered = bytes(self.output[self._answered :]), len(self.output)
        for question, answer in _ANSWERS:
            for _ in question.finditer(fresh):
                os.write(self._controller, answer)


def _priority() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/self/autogroup").read_text().split()[-1]
    return ""


def _take_priority(priority: str) -> None:
    """Give this new session the CPU before others that another one has: Linux groups processes by session."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(priority)


def _family(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(field) for field in fields[11:15]) / _TICK  # its own, and of children that have ended
