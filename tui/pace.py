"""When a screen reads again: one read at a time, and after each a rest that grows with what it cost.

It costs CPU, and the line to the terminal: what changed on the screen must have had its time to get there.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.widget import Widget

_REST = 8.0  # times what a read took is waited before the next one, so that reading never takes the machine
_BYTES_A_SECOND = 1_800  # that go to the terminal because of what was read
_LONGEST_REST = 1.0  # seconds, for bytes: what a person asked for may have been many
_LATEST = 4.0  # seconds that the costly parts of a screen may be behind
_AFTER_KEY = 0.1  # seconds: what a key does is on the screen by then, if nothing is read meanwhile
_LONGEST_AFTER_KEYS = 1.0  # seconds since the last read, however many keys come


class Pace:
    """Calls `read` as often as `ask` wants it and the pace allows; what comes too early becomes one later read."""

    def __init__(self, owner: Widget, read: Callable[[], None], *, longest_rest: float = _LONGEST_REST) -> None:
        """longest_rest: seconds, for bytes."""
        self._owner, self._read, self._longest_rest = owner, read, longest_rest
        self._reading = False
        self._wanted = False
        self._hurried = False
        self._not_before = 0.0
        self._done_at, self._written = 0.0, 0  # when the last read ended, and bytes that had been written by then

    def ask(self, *, at_once: bool = False) -> None:
        """Read now, or as soon as the pace allows. at_once: without the rest, since a person asked."""
        if at_once:
            self._not_before, self._hurried = 0.0, self._reading
        wait = 0.0 if at_once else self._rest()
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
        self._done_at, self._written = time.monotonic(), self._bytes()
        self._not_before = 0.0 if self._hurried else self._done_at + _REST * seconds
        self._hurried = False
        self._catch_up()

    def _rest(self) -> float:
        """Return the seconds that are still to be waited."""
        now = time.monotonic()
        line = min(self._longest_rest, (self._bytes() - self._written) / _BYTES_A_SECOND)
        touched = getattr(self._owner.app._driver, "touched_at", 0.0) + _AFTER_KEY
        keys = min(touched, self._done_at + _LONGEST_AFTER_KEYS)
        return max(self._not_before, self._done_at + line, keys) - now

    def _bytes(self) -> int:
        return _written(self._owner)

    def _catch_up(self) -> None:
        wanted, self._wanted = self._wanted, False
        if wanted and self._owner.is_attached and self._owner.screen.is_current:  # else it asks when it is shown again
            self.ask()


class Later:
    """When the parts of a screen may be drawn again that change in many cells, so that its figures need not wait."""

    def __init__(self, owner: Widget) -> None:
        self._owner = owner
        self._drawn_at, self._written = 0.0, 0

    def is_due(self) -> bool:
        """Return whether the line to the terminal has had its time for all that was written since it last was due."""
        now, written = time.monotonic(), _written(self._owner)
        due = now >= self._drawn_at + min(_LATEST, (written - self._written) / _BYTES_A_SECOND)
        if due:
            self._drawn_at, self._written = now, written
        return due


def _written(owner: Widget) -> int:
    return getattr(owner.app._driver, "written", 0)  # headless drivers count nothing
