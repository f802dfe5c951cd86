"""Which charts are drawn when: all of them cost more time than a key may wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from textual.timer import Timer
from textual.widget import Widget

from tui.widgets.chart import Chart

_WITH_KEY = 0.012  # seconds: charts that are all drawn by then are on the screen with the chosen one
_IN_A_ROW = 0.01  # seconds that may be drawn before keys are heard again
_MOMENT = 0.005  # seconds: what else a key changes is on the screen then


class DrawingTurns:
    """Draws charts, some at a time: between two such pieces keys are heard."""

    def __init__(self, owner: Widget, draw: Callable[[Chart], None]) -> None:
        """owner: what they stand in. draw: shows in one of them what there is by then."""
        self._owner, self._draw = owner, draw
        self._undrawn: list[Chart] = []  # that show what is older
        self._others: Timer | None = None

    @property
    def are_over(self) -> bool:
        """Whether every chart shows what there is."""
        return not self._undrawn

    def all_of(self, charts: Sequence[Chart]) -> None:
        """Draw these as soon as what else changed is on the screen: that may change them once more."""
        if not self._undrawn:
            self._owner.call_after_refresh(self._some)
        self._undrawn = list(charts)

    def chosen_first(self, charts: Sequence[Chart]) -> None:
        """Draw the one that has the focus at once, and the others a moment later, if they take their time."""
        self._undrawn = sorted(charts, key=lambda chart: not chart.has_focus)
        began, count = time.perf_counter(), len(charts)
        while self._undrawn:
            self._draw(self._undrawn.pop(0))
            each = (time.perf_counter() - began) / (count - len(self._undrawn))
            if each * count > _WITH_KEY:
                break
        if self._others is not None:
            self._others.stop()
        self._others = self._owner.set_timer(_MOMENT, self._some) if self._undrawn else None

    def _some(self) -> None:
        end = time.perf_counter() + _IN_A_ROW
        while self._undrawn and time.perf_counter() < end:
            self._draw(self._undrawn.pop(0))
        if self._undrawn:
            self._owner.call_after_refresh(self._some)
