"""The charts of a run side by side, sharing x axis, smoothing, zoom and crosshair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
from textual import on
from textual.containers import Grid

from engine.telemetry.axis import Scale
from engine.telemetry.charts import Panel, panels
from engine.telemetry.smoothing import Floats
from tui.canvas.plot import Plot, nearest_index, next_point
from tui.run.curves import Curve, Curves, XMode
from tui.run.panels import Pointed, axis_name, fitting, plot
from tui.run.tracks import Look
from tui.run.view import View, Window, extent
from tui.widgets.chart import Chart
from tui.widgets.chart_inks import INK_CLASSES, INK_RULES
from tui.widgets.drawing_turns import DrawingTurns
from tui.widgets.telling import Changed, Told


class ChartGrid(Grid):
    """As many charts as fit; the others on further pages. Each of the screen's charts keeps its panel of the page."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(INK_CLASSES)
    DEFAULT_CSS = f"""
    ChartGrid {{
        height: 1fr;
        grid-gutter: 0;
{INK_RULES}
    }}
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.curves = Curves({})
        self.view = View()
        self.page = 0
        self.maximised: str | None = None  # name of the panel that has all the room
        self._panels: list[Panel] = []
        self._marks: Sequence[tuple[int, str]] = ()
        self._targets: Mapping[str, float] = {}
        self._empty = ""
        self._scales: dict[str, Scale] = {}  # by the name of the panel
        self._shape = (1, 1)  # columns, rows of a page
        self._kind = ""
        self._turns = DrawingTurns(self, self._draw_one)
        self._grabbed: Window | None = None  # the window when the mouse was pressed

    def show(
        self,
        kind: str,
        curves: Curves,
        marks: Sequence[tuple[int, str]],
        targets: Mapping[str, float],
        empty: str,
    ) -> None:
        """Show the curves of a run.

        Args:
            kind: of the experiment.
            curves: all that it measured.
            marks: (step, kind) of restarts, rollbacks and checkpoints.
            targets: what the run aims at, by metric.
            empty: said while it has no points.
        """
        before = self._extent()
        self.curves, self._marks, self._targets, self._empty = curves, marks, targets, empty
        self._kind = kind
        self._panels = self.arranged(kind, curves)
        if self.view.mode not in curves.modes():
            self.view = replace(self.view, mode=XMode.STEP, window=None, crosshair=None)
        self.view = self.view.kept_up(before, self._extent())
        self._arrange()

    def arranged(self, kind: str, curves: Curves) -> list[Panel]:
        """Return the series of each chart, in order."""
        return panels(kind, curves.series)

    def plotted(self, panel: Panel, scale: Scale) -> Plot:
        """Return what the chart of a panel shows."""
        target = self._targets.get(panel[0])
        return plot(panel, self.curves, self.view, scale, marks=self._marks, target=target, kind=self._kind)

    def clear(self) -> None:
        """Forget the run; smoothing and x axis stay for the next one."""
        self.view = replace(self.view, window=None, crosshair=None)
        self.page, self.maximised = 0, None
        self._scales.clear()
        self.curves, self._panels, self._empty = Curves({}), [], ""
        for chart in self.charts:  # they stay, for the next run has about as many
            chart.show(Plot((), empty=""))

    def wait(self, why: str) -> None:
        """Say why there are no curves yet."""
        if not self._panels and why != self._empty:
            self._empty = why
            self._turns.all_of(self._displayed)

    def on_resize(self) -> None:
        self._arrange()

    @property
    def pages(self) -> int:
        """Number of pages, at least 1."""
        return max(1, -(-len(self._panels) // math.prod(self._shape)))

    @property
    def charts(self) -> list[Chart]:
        """The charts of the page; with one maximised, the others are not displayed."""
        return [child for child in self.children if isinstance(child, Chart)]

    @property
    def is_drawn(self) -> bool:
        """Whether all charts show the points that there are."""
        return self._turns.are_over

    @property
    def crossed(self) -> tuple[int, float] | None:
        """The step of the point under the crosshair, and when that was, in seconds since the epoch."""
        at, name = self.view.crosshair, self._longest()
        if at is None or name is None:
            return None
        x, curve = self._seen(name)
        nearest = nearest_index(x, at)
        return None if nearest is None else (int(curve.step[nearest]), float(curve.time[nearest]))

    @property
    def chosen(self) -> Panel | None:
        """The series of the chart that has the focus, else of the first one."""
        page, focused = self._page(), self._focused() or 0
        return page[focused] if focused < len(page) else None

    @property
    def pointed(self) -> Pointed | None:
        """The value under the crosshair in the chosen chart, if there is a crosshair."""
        at = self.view.crosshair
        if self.chosen is None or at is None:
            return None
        name = self.chosen[0]
        x, curve = self._seen(name)
        nearest = nearest_index(x, at)
        return None if nearest is None else Pointed(name, int(curve.step[nearest]), float(curve.value[nearest]))

    @property
    def look(self) -> Look | None:
        """What is shown of the x axis; null: all of it."""
        if self.view.window is None:
            return None
        return Look(self.view.mode, *self.view.window, frozenset(self._names()))

    @property
    def is_coarse(self) -> bool:
        """Whether there are more points of what is shown than are here."""
        look = self.look
        return look is not None and any(self.curves.is_coarse(name, look.mode, look.window) for name in self._names())

    @property
    def newest(self) -> float | None:
        """The greatest x of the page."""
        extent = self._extent()
        return None if extent is None else extent[1]

    def next_mode(self) -> None:
        """Let the x axis count the next thing: steps, tokens, samples, elapsed time, local time."""
        modes = self.curves.modes()
        mode = modes[(modes.index(self.view.mode) + 1) % len(modes)]
        view = replace(self.view, mode=mode, window=None, crosshair=None)
        self._change(view, f"x axis: {axis_name(mode, self._kind)}")

    def next_scale(self) -> None:
        """Change the y axis of the focused chart, or of all: linear, log, symlog, linear with outliers clipped."""
        focused, page = self._focused(), self._page()
        chosen = [panel[0] for panel in (self._panels if focused is None else page[focused : focused + 1])]
        if not chosen:
            self.post_message(Told("There is no chart yet."))
            return
        scale = self._scales.get(chosen[0], Scale.LINEAR).following
        self._scales.update(dict.fromkeys(chosen, scale))
        self._change(self.view, f"y axis of {'all charts' if focused is None else chosen[0]}: {scale}")

    def smoother(self, by: int) -> None:
        """Smooth by `by` notches more."""
        view = self.view.smoother(by)
        self._change(view, f"smoothing {view.smoothing:g}" if view.smoothing else "no smoothing")

    def zoom(self, direction: int, at: float | None = None) -> None:
        """Show half (1) or twice (-1) the span, about a place: by default the crosshair, else the newest point."""
        whole = self._extent()
        if whole is None:
            return
        view = self.view.zoomed(direction, whole, at)
        self._change(view, "everything is shown" if view.window is None and direction < 0 else "")

    def move(self, direction: int) -> None:
        """Move the crosshair to the next point; without one, move a zoomed window by a quarter."""
        whole = self._extent()
        if whole is None:
            return
        if self.view.crosshair is not None:
            self._cross(self._next_point(self.view.crosshair, direction))
        elif self.view.window is not None:
            low, high = self.view.window
            self._change(self.view.looking_at(low + direction * (high - low) / 4, high - low, whole), "")
        else:
            self.post_message(Told("Everything is shown: + zooms in, i shows exact values."))

    def reset(self) -> None:
        """Show everything again, linear."""
        self._scales.clear()
        self._change(replace(self.view, window=None), "everything is shown, y linear")

    def inspect(self) -> None:
        """Put a crosshair at the newest point, or take it away."""
        extent = self._extent()
        if self.view.crosshair is not None:
            self._change(replace(self.view, crosshair=None), "")
        elif extent is None:
            self.post_message(Told("There are no points to inspect yet."))
        else:
            self._cross((self.view.window or extent)[1])

    def turn_page(self, by: int) -> None:
        """Show the charts of another page."""
        page = min(max(self.page + by, 0), self.pages - 1)
        if page == self.page:
            said = f"This is page {page + 1} of {self.pages}." if self.pages > 1 else "All charts are on this page."
            self.post_message(Told(said))
            return
        self.page = page
        self._arrange()

    def maximise(self) -> None:
        """Give all room to the focused chart, or to the first one; or show all again."""
        page, focused = self._page(), self._focused() or 0
        if self.maximised is None and focused >= len(page):
            self.post_message(Told("There is no chart yet."))
            return
        self.maximised = page[focused][0] if self.maximised is None else None
        self._arrange()
        if focused < len(self.charts):
            self.charts[focused].focus()

    def restore(self) -> bool:
        """Undo the innermost of crosshair, zoom and maximised chart; returns whether there was any."""
        if self.view.crosshair is not None:
            self.inspect()
        elif self.view.window is not None:
            self._change(replace(self.view, window=None), "")
        elif self.maximised is not None:
            self.maximise()
        else:
            return False
        return True

    def focus_first(self) -> None:
        """Give the focus to the first chart that is displayed."""
        chart = next(iter(self._displayed), None)
        if chart is not None:
            chart.focus()

    def focus_row(self, by: int) -> None:
        """Give the focus to the chart below (1) or above (-1)."""
        focused = self._focused()
        if focused is None:
            self.focus_first()
        elif self.maximised is None and 0 <= focused + by * self._shape[0] < len(self._page()):
            self.charts[focused + by * self._shape[0]].focus()

    @on(Chart.Picked)
    def _picked(self, message: Chart.Picked) -> None:
        if message.times > 1:
            self.maximise()
        else:
            self._pick(message.at)

    def _pick(self, at: float | None) -> None:
        """Put the crosshair, if there is one, to the nearest point."""
        x = self._reference()
        nearest = None if at is None or self.view.crosshair is None else nearest_index(x, at)
        if nearest is not None:
            self._cross(float(x[nearest]))

    @on(Chart.Dragged)
    def _dragged(self, message: Chart.Dragged) -> None:
        """Let a zoomed window follow the mouse; with a crosshair, that."""
        whole = self._extent()
        if self.view.crosshair is not None or whole is None:
            self._pick(message.at)
            return
        if message.begins:
            self._grabbed = self.view.window
        if self._grabbed is not None:
            low, high = self._grabbed
            self._change(self.view.looking_at(low - message.share * (high - low), high - low, whole), "")
        elif message.begins:
            self.post_message(Told("Everything is shown: the wheel or + zooms in, then the mouse drags."))

    @on(Chart.Turned)
    def _turned(self, message: Chart.Turned) -> None:
        self.zoom(message.direction, message.at)

    @property
    def _displayed(self) -> list[Chart]:
        return [chart for chart in self.charts if chart.display]

    def _names(self) -> list[str]:
        return [name for panel in self._page() for name in panel]

    def _page(self) -> list[Panel]:
        size = math.prod(self._shape)
        return self._panels[self.page * size : (self.page + 1) * size]

    def _focused(self) -> int | None:
        return next((index for index, chart in enumerate(self.charts) if chart.has_focus), None)

    def _arrange(self) -> None:
        if not self.size:
            return
        first = self.page * math.prod(self._shape)
        self._shape = fitting(*self.size, len(self._panels))
        # what was in view stays in view when the shape changes
        self.page = min(first // math.prod(self._shape), self.pages - 1)
        page = self._page()
        alone = next((index for index, panel in enumerate(page) if panel[0] == self.maximised), None)
        if alone is None:
            self.maximised = None
        columns, rows = (1, 1) if alone is not None else self._shape
        self.styles.grid_size_columns, self.styles.grid_size_rows = columns, rows
        charts, wanted = self.charts, max(1, len(page))
        for chart in charts[wanted:]:
            chart.remove()
        self.mount_all(added := [Chart() for _ in range(wanted - len(charts))])
        charts = [*charts[:wanted], *added]
        for index, chart in enumerate(charts):
            chart.display = alone is None or index == alone
        self._turns.all_of(self._displayed)
        self.post_message(Changed())

    def _draw_one(self, chart: Chart) -> None:
        page, charts = self._page(), self.charts
        index = charts.index(chart) if chart in charts else len(charts)
        if index < len(page):
            chart.show(self.plotted(page[index], self._scales.get(page[index][0], Scale.LINEAR)))
        elif index == 0:
            chart.show(plot((), self.curves, self.view, Scale.LINEAR, empty=self._empty))

    def _change(self, view: View, sentence: str) -> None:
        self.view = view
        # In the screen's own queue, so that one painting shows all three.
        if sentence:
            self.screen.post_message(Told(sentence))
        self.screen.post_message(Changed())
        self.screen.call_later(lambda: self._turns.chosen_first(self._displayed))

    def _cross(self, at: float) -> None:
        self._change(self.view.crossing(at), "")

    def _longest(self) -> str | None:
        return max(self._names(), key=lambda name: self.curves.series[name].count, default=None)

    def _reference(self) -> Floats:
        """Return the x of the series with the most points on the page: the crosshair goes from point to point."""
        longest = self._longest()
        return np.empty(0) if longest is None else self._seen(longest)[0]

    def _seen(self, name: str) -> tuple[Floats, Curve]:
        return self.curves.seen(name, self.view.mode, self.view.window)

    def _extent(self) -> Window | None:
        return extent([self.curves.x(name, self.view.mode) for name in self._names()])

    def _next_point(self, at: float, direction: int) -> float:
        x = self._reference()
        if not x.size:
            return at
        low, high = self.view.window or (float(x[0]), float(x[-1]))
        columns = max((chart.frame.columns for chart in self._displayed), default=1) or 1
        return next_point(x, at, (high - low) / columns, direction)
