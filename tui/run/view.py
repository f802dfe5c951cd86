"""What the charts of a screen share: the part of the x axis in sight, smoothing and crosshair; how keys change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.telemetry.smoothing import WEIGHTS, Floats
from tui.run.curves import XMode

SMOOTHING_STEPS = (0.0, *WEIGHTS)
_ZOOM = 2.0
_LEAST = 1e-6  # of everything is the least that is shown

Window = tuple[float, float]  # the least and the greatest x


@dataclass(frozen=True, slots=True)
class View:
    """What all charts of a screen share."""

    mode: XMode = XMode.STEP
    smoothing: float = 0.6
    window: Window | None = None  # null: everything
    crosshair: float | None = None

    def smoother(self, by: int) -> View:
        """Return the view `by` notches smoother."""
        at = SMOOTHING_STEPS.index(self.smoothing) + by
        return replace(self, smoothing=SMOOTHING_STEPS[min(max(at, 0), len(SMOOTHING_STEPS) - 1)])

    def zoomed(self, direction: int, whole: Window, at: float | None = None) -> View:
        """Return the view of half (1) or twice (-1) the span; of everything, where that is no more.

        at: the place that stays; null: the crosshair, else the newest point.
        """
        low, high = self.window or whole
        span = (high - low) * _ZOOM**-direction
        if span >= whole[1] - whole[0]:
            return replace(self, window=None)
        at = next(one for one in (at, self.crosshair, high) if one is not None)
        share = min(1.0, max(0.0, (at - low) / (high - low))) if high > low else 1.0
        span = max(span, (whole[1] - whole[0]) * _LEAST)
        return self.looking_at(at - span * share, span, whole)

    def looking_at(self, low: float, span: float, whole: Window) -> View:
        """Return the view of so much of the x axis, from `low` on as far as there is that much."""
        low = min(max(low, whole[0]), whole[1] - span)
        return replace(self, window=(low, low + span))

    def crossing(self, at: float) -> View:
        """Return the view with the crosshair at a place, which is in sight then."""
        if self.window is None or self.window[0] <= at <= self.window[1]:
            return replace(self, crosshair=at)
        span = self.window[1] - self.window[0]
        low = at if at < self.window[0] else at - span
        return replace(self, crosshair=at, window=(low, low + span))

    def kept_up(self, before: Window | None, now: Window | None) -> View:
        """Return the view in which a window that ended at the newest point goes on with it.

        before, now: the least and the greatest x of all points; null: there are none.
        """
        if self.window is None or before is None or now is None or self.window[1] < before[1]:
            return self
        return replace(self, window=(self.window[0] + now[1] - before[1], now[1]))


def extent(places: Sequence[Floats]) -> Window | None:
    """Return the least and the greatest of the x of some series, each in order; null: there are no points."""
    ends = [(float(x[0]), float(x[-1])) for x in places if x.size]
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None
