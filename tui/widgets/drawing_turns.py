"""Which charts are drawn when: all of them cost more time than a key may wait."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.timer import Timer
from textual.widget import Widget

from tui.widgets.chart import Chart

_AT_ONCE = 4  # charts that are drawn in a row
_MOMENT = 0.005  # seconds: what else a key changes is on the screen then


class DrawingTurns:
    """Draws charts, some at a time: between two such pieces keys are heard."""

    def __init__(self, owner: Widget, draw: Callable[[Chart], None]) -> None:
        """owner: what they stand in. draw: shows in one of them what there is by then."""
        self._owner, self._draw = owner, draw
        self._undrawn: list[Chart] = []  # that show what is older
        self._others: Timer | None = None

    def all_of(self, charts: Sequence[Chart]) -> None:
        """Draw these as soon as what else changed is on the screen: that may change them once more."""
        if not self._undrawn:
            self._owner.call_after_refresh(self._some)
        self._undrawn = list(charts)

    def chosen_first(self, charts: Sequence[Chart]) -> None:
        """Draw the one that has the focus at once, the others a moment later: a key shows at once what it did."""
        self._undrawn = sorted(charts, key=lambda chart: not chart.has_focus)
        if self._undrawn:
            self._draw(self._undrawn.pop(0))
        if self._others is not None:
            self._others.stop()
        self._others = self._owner.set_timer(_MOMENT, self._some)

    def _some(self) -> None:
        for chart in self._undrawn[:_AT_ONCE]:
            self._draw(chart)
        del self._undrawn[:_AT_ONCE]
        if self._undrawn:
            self._owner.call_after_refresh(self._some)
