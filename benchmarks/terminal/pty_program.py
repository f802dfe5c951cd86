"""A program in a pseudo-terminal: what it writes and when, and the CPU of it and its children."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from terminal.emulated import Screen

COLUMNS, LINES = 160, 48
# What a terminal of today answers to what it is asked: without an answer some programs wait for seconds.
_ANSWERS = (
    (re.compile(rb"\x1b\[\?2026\$p"), b"\x1b[?2026;2$y"),  # it knows synchronized output
    (re.compile(rb"\x1b\[(0)?c"), b"\x1b[?62;22c"),
    (re.compile(rb"\x1b\[6n"), b"\x1b[1;1R"),
    (re.compile(rb"\x1b\]10;\?(\x07|\x1b\\)"), b"\x1b]10;rgb:ffff/ffff/ffff\x1b\\"),
    (re.compile(rb"\x1b\]11;\?(\x07|\x1b\\)"), b"\x1b]11;rgb:0000/0000/0000\x1b\\"),
)
_TICK = os.sysconf("SC_CLK_TCK")
_AT_ONCE = 1 << 16


class PtyProgram:
    """One running program; leaving the context ends it."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *,
        emulated: bool = False,
    ) -> None:
        """emulated: what it writes is put on `screen`; see `Screen` for what that understands."""
        self.output = bytearray()  # all that it wrote
        self.screen = Screen(COLUMNS, LINES) if emulated else None
        self._answered = 0
        controller, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "ENGINE_DB", "TMUX")}
        usual = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=inherited | usual | dict(environment or {}),
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (no threads here)
        )
        os.close(terminal)
        self._controller = controller
        _same_priority(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for asked in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, asked)
            give_up = time.monotonic() + 3
            while self._process.poll() is None and time.monotonic() < give_up:
                self.read_for(0.02)
        self._process.wait()
        os.close(self._controller)

    def press(self, keys: bytes) -> float:
        """Type, and return when (`time.monotonic`)."""
        os.write(self._controller, keys)
        return time.monotonic()

    def read_for(self, seconds: float) -> int:
        """Take what it writes for so long; return the number of bytes."""
        before, give_up = len(self.output), time.monotonic() + seconds
        while (left := give_up - time.monotonic()) > 0:
            self._take(left)
        return len(self.output) - before

    def wait_for(self, pattern: bytes, since: int = 0, seconds: float = 60.0) -> float:
        """Return when (`time.monotonic`) the pattern stood in what it wrote after `since` bytes.

        Raises TimeoutError with the end of what it wrote.
        """
        wanted, give_up = re.compile(pattern), time.monotonic() + seconds
        while not wanted.search(self.output, since):
            left = give_up - time.monotonic()
            if left <= 0 or not self._take(left):
                raise TimeoutError(f"{pattern!r} is not in what came: {bytes(self.output[since:][-3000:])!r}")
        return time.monotonic()

    def wait_until(self, holds: Callable[[Screen], bool], seconds: float = 60.0) -> float:
        """Return when (`time.monotonic`) something held of the screen. Raises TimeoutError with the screen."""
        assert self.screen is not None
        give_up = time.monotonic() + seconds
        while not holds(self.screen):
            left = give_up - time.monotonic()
            if left <= 0 or not self._take(left):
                raise TimeoutError(f"what was waited for is not on the screen:\n{self.screen.text()}")
        return time.monotonic()

    def wait_until_quiet(self, seconds: float = 0.3, at_most: float = 30.0) -> None:
        """Wait until nothing is written for so long."""
        give_up = time.monotonic() + at_most
        while self.read_for(seconds) and time.monotonic() < give_up:
            pass

    @property
    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def cpu_seconds(self) -> float:
        """Return the CPU time of it and of all its children, to a hundredth of a second."""
        return sum(_cpu(pid) for pid in _family(self._process.pid))

    def _take(self, patience: float) -> bool:
        """Take what there is, and answer; returns whether more may come."""
        readable, _, _ = select.select([self._controller], [], [], patience)
        if not readable:
            return True
        try:
            data = os.read(self._controller, _AT_ONCE)
        except OSError:  # it has ended
            time.sleep(min(patience, 0.05))
            return False
        self.output += data
        if self.screen is not None:
            self.screen.feed(data)
        self._answer()
        return True

    def _answer(self) -> None:
        fresh, self._answered = bytes(self.output[self._answered :]), len(self.output)
        for question, answer in _ANSWERS:
            for _ in question.finditer(fresh):
                os.write(self._controller, answer)


def _same_priority(pid: int) -> None:
    """Give a new session the CPU before others that this one has: Linux groups processes by session."""
    with contextlib.suppress(OSError):
        mine = Path("/proc/self/autogroup").read_text().split()[-1]
        Path(f"/proc/{pid}/autogroup").write_text(mine)


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
