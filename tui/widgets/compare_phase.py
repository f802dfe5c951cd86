"""The chart of score against divergence, a path a run, with a mark that goes from step to step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from tui.canvas.frame import Frame
from tui.canvas.phase import PhasePlot, draw_phase
from tui.canvas.plot import Plot
from tui.comparison.compared import Compared
from tui.comparison.exporting import of_curves
from tui.comparison.overlay import overlaid
from tui.comparison.phase import NEEDED, phase_plot, phase_steps, phase_values
from tui.comparison.reading import ComparedRun
from tui.run.view import View
from tui.widgets.chart import Chart
from tui.widgets.chart_inks import INK_CLASSES, INK_RULES
from tui.widgets.compare_pane import ComparePane
from tui.widgets.telling import Changed, Told

if TYPE_CHECKING:
    from engine.store.database import Store

_STOPS = 100  # of the mark, at most, from end to end


class ComparePhase(Chart, ComparePane):
    """Paths instead of lines over steps."""

    COMPONENT_CLASSES: ClassVar[set[str]] = set(INK_CLASSES)
    DEFAULT_CSS = f"""
    ComparePhase {{
{INK_RULES}
    }}
    """

    wanted = frozenset(NEEDED)
    values_of = "score and KL"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._runs: Sequence[ComparedRun] = ()
        self._phase = PhasePlot(())
        self._view = View()
        self._step: int | None = None  # of the mark; null: the ends

    def show_compared(self, compared: Compared, other: int) -> None:
        """Show the paths of the runs."""
        self._runs = compared.runs
        self._draw_again()

    def drawn(self, width: int, height: int) -> Frame:
        """Return the paths in so many cells."""
        return draw_phase(self._phase, width, height)

    def values(self) -> Mapping[str, str]:
        """Return score and divergence at the mark."""
        return {run.letter: phase_values(run, self._step) for run in self._runs}

    def facts(self) -> list[str]:
        """Return smoothing, and where the mark stands."""
        where = "marks at the ends: ← goes back" if self._step is None else f"marks at step {self._step}"
        return [where, f"smoothing {self._view.smoothing:g}"]

    def lacking(self) -> str | None:
        """Return that no run has both, where none has."""
        return None if phase_steps(self._runs) else "No run has score and KL."

    def written(self, style: str, store: Store) -> str:
        """Return both series of each run."""
        overlay = overlaid(self._runs)
        panel = [name for name in overlay.series if overlay.meant(name)[0] in NEEDED]
        return of_curves(style, panel, overlay, "score against KL", store)

    def take_focus(self) -> None:
        """Give the focus to the chart."""
        self.focus()

    def restore(self) -> bool:
        """Put the mark to the ends again."""
        if self._step is None:
            return False
        self.zero()
        return True

    def zero(self) -> None:
        """Put the mark to the ends again."""
        self._step = None
        self._change()

    def smoother(self, by: int) -> None:
        """Smooth by `by` notches more."""
        self._view = self._view.smoother(by)
        self._change()

    def inspect(self) -> None:
        """Put the mark at the last step, or take it away."""
        if self._step is None:
            self.move(0)
        else:
            self.zero()

    def move(self, direction: int) -> None:
        """Move the mark along the paths."""
        steps = phase_steps(self._runs)
        if not steps:
            self.post_message(Told("There are no points to inspect.", "warning"))
            return
        current = self._step if self._step is not None else steps[-1]
        at = min(range(len(steps)), key=lambda place: abs(steps[place] - current))
        self._step = steps[min(max(at + direction * max(1, len(steps) // _STOPS), 0), len(steps) - 1)]
        self._change()

    def _change(self) -> None:
        self._draw_again()
        self.post_message(Changed())

    def _draw_again(self) -> None:
        self._phase = phase_plot(self._runs, self._view.smoothing, self._step)
        self.show(Plot(()))
