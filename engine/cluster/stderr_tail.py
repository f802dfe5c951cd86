"""The last words of a program, for messages."""

from __future__ import annotations

import threading
from collections.abc import Callable

STDERR_BYTES = 4096
_LAST_WORDS_SECONDS = 1.0


class StderrTail:
    """Reads a standard error stream to its end, so that the program never waits for us, and keeps the last 4 KiB."""

    def __init__(self, read: Callable[[int], bytes], at_end: Callable[[], object] = lambda: None) -> None:
        """Begin to read. read: as of a blocking stream, empty at its end; at_end: called once then."""
        self._read, self._at_end = read, at_end
        self._tail = b""
        self._thread = threading.Thread(target=self._drain, name="stderr tail", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while data := self._read(STDERR_BYTES):
            self._tail = (self._tail + data)[-STDERR_BYTES:]
        self._at_end()

    def text(self, *, ended: bool) -> str:
        """Return what is known. ended: the program's output has ended, so that its last words are on their way."""
        if ended:
            self._thread.join(_LAST_WORDS_SECONDS)
        return self._tail.decode(errors="replace")
