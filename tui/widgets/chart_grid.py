"""The charts of a run side by side, sharing x axis, smoothing, zoom and crosshair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from textual.containers import Grid
from textual.message import Message

from tui.canvas.axis import Scale
from tui.canvas.plot import nearest_index
from tui.canvas.smoothing import Floats
from tui.curves import Curves, XMode
from tui.panels import Panel, View, panels, plot
from tui.widgets.chart import Chart

_CHART_WIDTH = 36  # cells; narrower charts stand below each other
_CHART_HEIGHT = 9
_ZOOM = 2.0


class ChartGrid(Grid):
    """As many charts as fit; the others on further pages."""

    DEFAULT_CSS = """
    ChartGrid {
        height: 1fr;
        grid-gutter: 0;
    }
    """

    class Changed(Message):
        """What is said about the charts (page, axis, crosshair) changed."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    def __init__(self, kind: str = "sft", *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.kind = kind
        self.curves = Curves({})
        self.view = View()
        self.page = 0
        self.maximised: Panel | None = None
        self._marks: Sequence[tuple[int, str]] = ()
        self._scales: dict[Panel, Scale] = {}
        self._shape = (0, 0)  # columns, rows

    def show(self, kind: str, curves: Curves, marks: Sequence[tuple[int, str]]) -> None:
        """Show the curves of a run. marks: (step, kind) of restarts and checkpoints."""
        self.kind, self.curves, self._marks = kind, curves, marks
        if self.view.mode not in curves.modes():
            self.view = replace(self.view, mode=XMode.STEP, window=None, crosshair=None)
        self._arrange()

    def on_resize(self) -> None:
        self._arrange()

    @property
    def panels(self) -> list[Panel]:
        """All charts of the run, on all pages."""
        return panels(self.kind, self.curves.series)

    @property
    def pages(self) -> int:
        """Number of pages, at least 1."""
        columns, rows = self._fitting(len(self.panels))
        return max(1, -(-len(self.panels) // (columns * rows)))

    @property
    def charts(self) -> list[Chart]:
        """The charts on the screen."""
        return [child for child in self.children if isinstance(child, Chart)]

    def next_mode(self) -> None:
        """Let the x axis count the next thing: steps, tokens, elapsed time."""
        modes = self.curves.modes()
        mode = modes[(modes.index(self.view.mode) + 1) % len(modes)]
        self._change(replace(self.view, mode=mode, window=None, crosshair=None), f"x axis: {mode}")

    def next_scale(self) -> None:
        """Change the y axis of the focused chart, or of all: linear, log, symlog, linear with outliers clipped."""
        focused = [panel for chart, panel in zip(self.charts, self._shown(), strict=False) if chart.has_focus]
        chosen = focused or self.panels
        if not chosen:
            return
        scale = self._scales.get(chosen[0], Scale.LINEAR).following
        self._scales.update(dict.fromkeys(chosen, scale))
        self._change(self.view, f"y axis of {focused[0][0] if focused else 'all charts'}: {scale}")

    def smoother(self, by: int) -> None:
        """Smooth by `by` notches more."""
        view = self.view.smoother(by)
        self._change(view, f"smoothing {view.smoothing:g}" if view.smoothing else "no smoothing")

    def zoom(self, direction: int) -> None:
        """Show half (1) or twice (-1) the span, about the crosshair, else at the newest point."""
        whole = self._extent()
        if whole is None:
            return
        low, high = self.view.window or whole
        span = (high - low) * _ZOOM**-direction
        if span >= whole[1] - whole[0]:
            self.reset()
            return
        least = (whole[1] - whole[0]) * 1e-6
        at = self.view.crosshair if self.view.crosshair is not None else high
        share = (at - low) / (high - low) if high > low else 1.0
        self._look_at(at - max(span, least) * share, max(span, least), whole)

    def move(self, direction: int) -> None:
        """Move the crosshair to the next point; without one, move a zoomed window by a quarter."""
        whole = self._extent()
        if whole is None:
            return
        if self.view.crosshair is not None:
            self._cross(self._next_point(self.view.crosshair, direction))
        elif self.view.window is not None:
            low, high = self.view.window
            self._look_at(low + direction * (high - low) / 4, high - low, whole)

    def reset(self) -> None:
        """Show everything again, linear."""
        self._scales.clear()
        self._change(replace(self.view, window=None), "everything")

    def inspect(self) -> None:
        """Put a crosshair at the newest point, or take it away."""
        extent = self._extent()
        if self.view.crosshair is not None or extent is None:
            self._change(replace(self.view, crosshair=None), "")
        else:
            self._cross((self.view.window or extent)[1])

    def turn_page(self, by: int) -> None:
        """Show the charts of another page."""
        self.page = min(max(self.page + by, 0), self.pages - 1)
        self._arrange()
        self.post_message(self.Changed(f"charts {self.page + 1}/{self.pages}" if self.pages > 1 else ""))

    def maximise(self) -> bool:
        """Give all room to the focused chart; returns whether there was one."""
        shown = self._shown()
        focused = next((index for index, chart in enumerate(self.charts) if chart.has_focus), 0)
        if self.maximised is not None or focused >= len(shown):
            return False
        self.maximised = shown[focused]
        self._arrange()
        return True

    def restore(self) -> bool:
        """Undo the innermost of crosshair and maximised chart; returns whether there was any."""
        if self.view.crosshair is not None:
            self.inspect()
            return True
        if self.maximised is not None:
            self.maximised = None
            self._arrange()
            return True
        return False

    def _shown(self) -> list[Panel]:
        if self.maximised is not None:
            return [self.maximised]
        columns, rows = self._shape
        first = self.page * columns * rows
        return self.panels[first : first + columns * rows]

    def _fitting(self, count: int) -> tuple[int, int]:
        columns = max(1, min(3, self.size.width // _CHART_WIDTH))
        rows = max(1, min(-(-count // columns) if count else 1, self.size.height // _CHART_HEIGHT))
        # no hole where a smaller grid holds all
        while columns > 1 and (columns - 1) * rows >= count:
            columns -= 1
        return columns, rows

    def _arrange(self) -> None:
        if not self.size:
            return
        self.page = min(self.page, self.pages - 1)
        self._shape = (1, 1) if self.maximised is not None else self._fitting(len(self.panels))
        self.styles.grid_size_columns, self.styles.grid_size_rows = self._shape
        wanted = max(1, len(self._shown()))
        charts = self.charts
        if len(charts) < wanted:
            self.mount_all([Chart() for _ in range(wanted - len(charts))])
        for chart in charts[wanted:]:
            chart.remove()
        self._draw()

    def _draw(self) -> None:
        shown = self._shown()
        for chart, panel in zip(self.charts, shown, strict=False):
            scale = self._scales.get(panel, Scale.LINEAR)
            chart.show(plot(panel, self.curves, self.view, scale, self._marks))

    def _change(self, view: View, sentence: str) -> None:
        self.view = view
        self._draw()
        self.post_message(self.Changed(sentence))

    def _look_at(self, low: float, span: float, whole: tuple[float, float]) -> None:
        low = min(max(low, whole[0]), whole[1] - span)
        self._change(replace(self.view, window=(low, low + span)), "")

    def _cross(self, at: float) -> None:
        view = replace(self.view, crosshair=at)
        if view.window is not None and not view.window[0] <= at <= view.window[1]:
            span = view.window[1] - view.window[0]
            low = at if at < view.window[0] else at - span
            view = replace(view, window=(low, low + span))
        self._change(view, "")

    def _reference(self) -> Floats:
        """Return the x of the series with the most points on the screen: the crosshair goes from point to point."""
        names = [name for panel in self._shown() for name in panel]
        longest = max(names, key=lambda name: self.curves.series[name].step.size, default=None)
        return np.empty(0) if longest is None else self.curves.x(longest, self.view.mode)

    def _extent(self) -> tuple[float, float] | None:
        places = [self.curves.x(name, self.view.mode) for panel in self._shown() for name in panel]
        ends = [(float(x[0]), float(x[-1])) for x in places if x.size]
        return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None

    def _next_point(self, at: float, direction: int) -> float:
        """Return the nearest point in the next column, at least one point on."""
        x = self._reference()
        nearest = nearest_index(x, at)
        if nearest is None:
            return at
        low, high = self.view.window or (float(x[0]), float(x[-1]))
        columns = max((chart.frame.columns for chart in self.charts), default=1) or 1
        there = nearest_index(x, at + direction * (high - low) / columns)
        if there is None or (there - nearest) * direction <= 0:
            there = nearest + direction
        return float(x[min(max(there, 0), x.size - 1)])
