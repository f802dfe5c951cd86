"""When garbage is collected: while nobody waits for the screen.

A full collection goes through all objects there are, a tenth of a second of the program's only interpreter, and one of
the second generation takes some hundredths; by default they come when so many objects were made, which is when somebody
presses keys.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

from textual.app import App

from tui.thrifty_driver import ThriftyDriver

_EVERY = 1.0  # seconds
_YOUNG = (2_000, 500)  # objects until the youngest are looked through, and such rounds until the second generation is
_NEVER = 1_000_000  # rounds until all are, unasked
_QUIET, _SHORTLY = 1.5, 0.2  # seconds since a key, before all are; before the second generation is
_LONGEST = 60.0  # seconds between full collections, however many keys come
_ROUNDS, _FEW = 80, 5  # of the youngest since then: fewer have made no garbage to speak of


class Collector:
    """Collects when it is asked, if it is time to. For the thread that has the screen."""

    def __init__(self, touched_at: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        """touched_at: when a person last pressed a key or moved the mouse. clock: seconds."""
        self._touched_at, self._clock = touched_at, clock
        self._rounds, self._collected_at, self._is_first = 0, 0.0, True
        self._rounds_of_second = 0  # what there had been when that was looked through

    def begin(self) -> None:
        """Take over."""
        gc.set_threshold(*_YOUNG, _NEVER)
        self._note()

    def ask(self) -> None:
        """Collect, if something was made since the last time, and nobody waits.

        What there is at the first time, modules above all, is there to stay: later ones do not look at it.
        """
        now = self._clock()
        quiet = now - self._touched_at()
        is_worth_it = self._is_first or _rounds() - self._rounds >= _ROUNDS
        if is_worth_it and (quiet >= _QUIET or now - self._collected_at >= _LONGEST):
            gc.collect()
            self._note()
            if self._is_first:
                gc.freeze()
            self._is_first = False
        elif quiet >= _SHORTLY and _rounds() - self._rounds_of_second >= _FEW:
            gc.collect(1)
            self._rounds_of_second = _rounds()

    def _note(self) -> None:
        self._rounds = self._rounds_of_second = _rounds()
        self._collected_at = self._clock()


def _rounds() -> int:
    return int(gc.get_stats()[0]["collections"])


def collect_when_quiet(app: App[Any]) -> None:
    """Let a program that stands in a terminal of its own collect while nobody waits."""
    driver = app._driver
    if isinstance(driver, ThriftyDriver):
        collector = Collector(lambda: driver.touched_at)
        collector.begin()
        app.set_interval(_EVERY, collector.ask)
