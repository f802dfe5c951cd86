"""The charts of several runs: one a metric, a line a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.telemetry.axis import Scale
from engine.telemetry.charts import Panel
from engine.telemetry.numbers import exact
from tui.canvas.plot import Plot
from tui.comparison.compared import Compared
from tui.comparison.exporting import of_curves
from tui.comparison.overlay import Overlay, metric_of, overlaid, overlay_panels, overlay_plot, readings
from tui.comparison.reading import ComparedRun
from tui.run.curves import Curves
from tui.run.tracks import Look
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.compare_pane import ComparePane
from tui.widgets.telling import Changed

if TYPE_CHECKING:
    from engine.store.database import Store


class CompareCharts(ChartGrid, ComparePane):
    """A grid whose panels are metrics, and whose series are runs."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: Sequence[ComparedRun] = ()
        self._top = 0  # place of the run whose lines hide others

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show the curves of the runs."""
        self._runs, self._top = compared.runs, other
        kind = self._runs[0].experiment.kind if self._runs else ""
        self.show(kind, overlaid(self._runs), (), {}, "Nothing was measured yet.")

    def arranged(self, kind: str, curves: Curves) -> list[Panel]:
        """Return one panel a metric."""
        return overlay_panels(self._runs)

    def plotted(self, panel: Panel, scale: Scale) -> Plot:
        """Return the chart of a metric."""
        overlay = self.curves
        assert isinstance(overlay, Overlay)
        return overlay_plot(panel, overlay, self.view, scale, self._top)

    @property
    def wanted(self) -> frozenset[str]:  # type: ignore[override]
        """The metrics of the page."""
        return frozenset(metric_of(panel) for panel in self._page())

    @property
    def look(self) -> Look | None:
        """What is shown of the x axis; null: all of it."""
        look = super().look
        return None if look is None else replace(look, names=self.wanted)

    @property
    def lacks(self) -> bool:
        """Whether points of the page were not read yet."""
        return any(self.wanted & set(run.names) - set(run.curves.series) for run in self._runs)

    @property
    def values_of(self) -> str:  # type: ignore[override]
        """The metric of the focused chart, else of the first one."""
        return "" if self.chosen is None else metric_of(self.chosen)

    def values(self) -> Mapping[str, str]:
        """Return the exact value of each run at the crosshair, or its newest one."""
        panel, overlay = self.chosen, self.curves
        if panel is None or not isinstance(overlay, Overlay):
            return {}
        found = readings(panel, overlay, self.view)
        return {
            run.letter: f"{exact(told.value)}  step {told.step}"
            if (told := found.get(run.letter)) is not None and told.value is not None
            else "–"
            for run in self._runs
        }

    def facts(self) -> list[str]:
        """Return page, crosshair, x axis and smoothing."""
        parts = [f"charts {self.page + 1}/{self.pages}: pgdn"] if self.pages > 1 else []
        crossed = self.crossed
        if self.view.crosshair is not None and crossed is not None:
            parts.append(f"crosshair at step {crossed[0]}")
        parts += [f"x {self.view.mode}", f"smoothing {self.view.smoothing:g}"]
        return [*parts, "zoomed: 0 shows all"] if self.view.window is not None else parts

    def lacking(self) -> str | None:
        """Return that there is no chart, where there is none."""
        return None if self.chosen is not None else "There is no chart yet."

    def written(self, style: str, store: Store) -> str:
        """Return the chosen chart."""
        overlay = self.curves
        assert isinstance(overlay, Overlay) and self.chosen is not None
        return of_curves(style, self.chosen, overlay, metric_of(self.chosen), store)

    def take_focus(self) -> None:
        """Give the focus to the first chart."""
        self.focus_first()

    def enter(self) -> None:
        """Give all room to a chart, or show all again."""
        self.maximise()

    def everything(self) -> None:
        """Zoom in: = is the key of +."""
        self.zoom(1)

    def zero(self) -> None:
        """Show everything again."""
        self.reset()

    def row(self, by: int) -> None:
        """Go to the chart below or above."""
        self.focus_row(by)

    def on_descendant_focus(self) -> None:
        self.post_message(Changed())
