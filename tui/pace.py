"""When a screen reads again: one read at a time, and after each a rest that grows with what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.widget import Widget

_REST = 8.0  # times what a read took is waited before the next one, so that reading never takes the machine


class Pace:
    """Calls `read` as often as `ask` wants it and the pace allows; what comes too early becomes one later read."""

    def __init__(self, owner: Widget, read: Callable[[], None]) -> None:
        self._owner, self._read = owner, read
        self._reading = False
        self._wanted = False
        self._hurried = False
        self._not_before = 0.0

    def ask(self, *, at_once: bool = False) -> None:
        """Read now, or as soon as the pace allows. at_once: without the rest, since a person asked."""
        if at_once:
            self._not_before, self._hurried = 0.0, self._reading
        wait = self._not_before - time.monotonic()
        if not self._reading and wait <= 0:
            self._wanted, self._reading = False, True
            self._read()
        elif not self._wanted:
            self._wanted = True
            if not self._reading:
                self._owner.set_timer(wait, self._catch_up)

    def done(self, seconds: float) -> None:
        """The read has ended. seconds: of CPU that it took."""
        self._reading = False
        self._not_before = 0.0 if self._hurried else time.monotonic() + _REST * seconds
        self._hurried = False
        self._catch_up()

    def _catch_up(self) -> None:
        if self._wanted and self._owner.is_attached:
            self._wanted = False
            self.ask()
