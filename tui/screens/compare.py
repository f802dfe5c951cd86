"""The Compare screen: up to eight runs beside each other, by their curves, specs, metrics, samples and answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.actions.action import key_name
from tui.canvas.charset import current
from tui.comparison.compared import Compared, ComparedReader
from tui.comparison.differences import spec_table
from tui.comparison.finals import final_table
from tui.pace import Pace
from tui.run.tracks import Look
from tui.screens.compare_keys import CompareKeys
from tui.standing import counts, dispatcher_standing
from tui.text.changes import entitle
from tui.text.keys import with_keys
from tui.text.safe import visible
from tui.widgets.compare_answers import CompareAnswers
from tui.widgets.compare_charts import CompareCharts
from tui.widgets.compare_pane import ComparePane
from tui.widgets.compare_phase import ComparePhase
from tui.widgets.compare_runs import CompareRuns
from tui.widgets.compare_samples import CompareSamples
from tui.widgets.compare_table import CompareSpecs, CompareTable
from tui.widgets.key_bar import KeyBar
from tui.widgets.pane_bar import PaneBar
from tui.widgets.status_line import StatusLine
from tui.widgets.telling import Changed, Told
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

TABS = ("curves", "reward-KL", "spec", "metrics", "samples", "answers")
_DRAWN = ("curves", "reward-KL")  # what shows points
_FEW = """\
Fewer than two runs are marked.

On the Runs screen (1):
space  marks the run under the cursor
b      makes it the baseline, which the others are held against"""
# For which tabs the key bar lists what is not for all of them.
_LISTED = {
    **dict.fromkeys(("compare-words", "compare-regressions", "compare-blind", "vote-left", "vote-right"), ("samples",)),
    **dict.fromkeys(("compare-x", "compare-y", "compare-zoom-in"), ("curves",)),
    **dict.fromkeys(("compare-inspect", "compare-smoother"), ("curves", "reward-KL")),
    "compare-all": ("spec",),
    "compare-other": ("samples", "answers"),
}


class CompareScreen(CompareKeys):
    """The runs that are marked, the baseline first."""

    CSS_PATH = "compare.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("compare"))
    AUTO_FOCUS = ""

    class Loaded(Message):
        """The runs were read, in a thread. seconds: of CPU that it took."""

        def __init__(self, reader: ComparedReader, compared: Compared, seconds: float) -> None:
            super().__init__()
            self.reader, self.compared, self.seconds = reader, compared, seconds

    def __init__(self) -> None:
        super().__init__()
        self.tab = TABS[0]
        self.compared = Compared()
        self._reader: ComparedReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._looked: Look | None = None  # what was in sight at the last read
        self._offer: tuple[str, ...] = ()  # the two runs that enter would compare, when too few are marked
        self._tab_chosen = False
        self._top = TopLine("Compare")
        self._empty = Static("reading…", id="empty", markup=False)
        self._list = CompareRuns(id="list")
        self._side = Vertical(self._list, id="side")
        self._tabs = PaneBar(TABS, prefix="compare-")
        self.charts = CompareCharts(id="curves")
        self.samples = CompareSamples(id="samples")
        self._panes: dict[str, ComparePane] = {
            "curves": self.charts,
            "reward-KL": ComparePhase(id="reward-KL"),
            "spec": CompareSpecs(
                lambda runs, _, first, everything: spec_table(runs, everything=everything, first=first), id="spec"
            ),
            "metrics": CompareTable(lambda runs, width, first, _: final_table(runs, width, first), id="metrics"),
            "samples": self.samples,
            "answers": CompareAnswers(id="answers"),
        }
        self._switcher = ContentSwitcher(*(cast(Widget, pane) for pane in self._panes.values()), initial=self.tab)
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        with Container(id="body"):
            yield self._side
            yield Vertical(self._tabs, self._switcher, id="main")
        yield self._empty
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The experiment that actions act on."""
        run = self._list.selected
        return run.experiment if run is not None and self.compared.runs else None

    @property
    def pane(self) -> ComparePane | None:
        """The tab that is shown; null while there is nothing to compare."""
        return self._pane if self.compared.runs else None

    @property
    def _pane(self) -> ComparePane:
        return self._panes[self.tab]

    @property
    def unlisted(self) -> frozenset[str]:
        """Actions that the key bar leaves out: the tabs have their keys, and some keys are for one tab alone."""
        if not self.compared.runs:
            offered = {"compare-enter"} if self._offer else set()
            return frozenset(action.id for action in table.of_scope("compare")) - offered
        tabs = (f"compare-{name}" for name in TABS)
        return frozenset(("compare-enter", *tabs, *(name for name, of in _LISTED.items() if self.tab not in of)))

    def on_mount(self) -> None:
        self.add_class("-nothing")

    def on_resize(self) -> None:
        self.call_after_refresh(self._tell)

    def reload(self) -> None:
        """Read what is new."""
        self._choose()

    def _choose(self) -> None:
        """Take up the runs that are marked now, and read what is new of them."""
        if not self.plumbline.store_is_open:
            return
        chosen = self.plumbline.marks.chosen()
        if len(chosen) < 2:
            self._show_too_few(chosen)
            return
        changed = self._reader is None or self._reader.ids != chosen
        if changed:
            self._reader = ComparedReader(self.plumbline.store, chosen)
        self._pace.ask(at_once=changed)

    def _show_too_few(self, chosen: Sequence[str]) -> None:
        self._reader, self.compared = None, Compared()
        under = getattr(self.plumbline.get_default_screen(), "selected", None)
        parent = under.parent_id if under is not None else None
        offered = dict.fromkeys(one for one in (*chosen, parent, under and under.id) if one is not None)
        self._offer = tuple(offered) if len(offered) == 2 else ()
        offer = ""
        if self._offer:
            whom = f"its parent {parent}" if self._offer[0] == parent else self._offer[0]
            offer = f"\n\n{key_name('enter'):<7}compares {self._offer[1]} with {whom}"
        self.add_class("-nothing")
        self._empty.update(with_keys(_FEW + offer))
        self._top.show([])
        self.status.facts(Content())
        self._keys.tell()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._pace.done(0.0)
            return
        runs = self.compared.runs
        other = runs[self._list.other].id if runs else None
        self._looked = self.charts.look if self.tab == "curves" else None
        self._read(self._reader, self.tab, self._pane.wanted, other, self._looked)

    @work(thread=True, group="comparison")
    def _read(
        self, reader: ComparedReader, tab: str, wanted: frozenset[str], other: str | None, look: Look | None
    ) -> None:
        began = time.thread_time()
        try:
            compared = reader.read(tab, wanted, other, look)
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))
        else:
            self.post_message(self.Loaded(reader, compared, time.thread_time() - began))

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if self.comes_too_late(message.seconds):
            return
        if message.reader is self._reader:
            self._take(message.compared)
        self._pace.done(message.seconds)
        self._read_the_rest()

    def _take(self, compared: Compared) -> None:
        if len(compared.runs) < 2:  # others were deleted
            self._show_too_few([run.id for run in compared.runs])
            return
        first = not self.compared.runs
        self.compared = compared
        if first and not self._tab_chosen and all(run.experiment.kind == "eval" for run in compared.runs):
            self.action_tab("answers")  # it tells most of evaluations
        self.remove_class("-nothing")
        self._show()
        if first and self.focused is None:
            self.call_after_refresh(self._pane.take_focus)

    def _show(self) -> None:
        if self.compared.runs:
            self._tell_runs()
            self._show_pane()
            self._tell()

    def _show_pane(self) -> None:
        compared = self.compared if self.tab in _DRAWN else self.compared.without_curves()
        self._pane.show_compared(compared, self._list.other)

    def _tell_runs(self) -> None:
        self._list.show(self.compared.runs, self._pane.values(), in_a_row=self.has_class("-narrow"))

    def _tell(self) -> None:
        """Say how things stand: values of the runs, tabs, top line, status line, keys."""
        runs = self.compared.runs
        if not runs:
            return
        self._tell_runs()
        entitle(self._side, f"{len(runs)} runs", self._pane.values_of)
        self._tabs.show(self.tab, ())
        self._top.show(counts(self.compared.live))
        separator = f"  {current().separator}  "
        live = any(not run.experiment.state.ended for run in runs)
        dispatcher = dispatcher_standing(self.plumbline, needed=live)
        parts = [part + separator for part in self._pane.facts()]
        self.status.facts(Content.assemble(*parts, dispatcher))
        self._keys.tell()

    @on(Changed)
    def _pane_changed(self) -> None:
        self._tell()
        if self.compared.runs and self.focused is None and self.app.app_focus:
            self._pane.take_focus()  # it was asked to before it had anything that could
        self._read_the_rest()

    def _read_the_rest(self) -> None:
        """Read the points of charts that came into view, and more of them where the view is closer."""
        if self.tab != "curves" or self._reader is None:
            return
        if self.charts.lacks or (self.charts.is_coarse and self.charts.look != self._looked):
            self._pace.ask(at_once=True)

    @on(Told)
    def _pane_told(self, message: Told) -> None:
        self.status.say(message.sentence, message.severity)

    @on(CompareRuns.Moved)
    def _run_moved(self) -> None:
        self._show()
        if self.tab == "answers":
            self._pace.ask(at_once=True)

    def on_descendant_focus(self) -> None:
        self._tell_focus()

    def on_descendant_blur(self) -> None:
        self._tell_focus()

    def _tell_focus(self) -> None:
        focused = self.focused
        inside = focused is not None and (focused is self._switcher or self._switcher in focused.ancestors)
        self._tabs.set_class(inside, "-focused")

    @on(PaneBar.Chosen)
    def _tab_clicked(self, message: PaneBar.Chosen) -> None:
        self.action_tab(message.name)

    def action_tab(self, name: str) -> None:
        """Show a tab."""
        if self._reader is None:
            return
        self._tab_chosen = True
        self.tab = self._switcher.current = name
        self._tabs.show(name, ())
        if self.compared.runs:
            self._show_pane()
        self.call_after_refresh(self._arrive)
        self._pace.ask(at_once=True)

    def _arrive(self) -> None:
        """Say what belongs to the tab, now that it is on the screen, and give it the focus: its size is known."""
        if self.tab in _DRAWN:
            self._tell()
        else:
            self._show()
        self._pane.take_focus()

    def action_turn(self, by: int) -> None:
        """Show the next tab, or the one before."""
        self.action_tab(TABS[(TABS.index(self.tab) + by) % len(TABS)])

    def action_pane(self) -> None:
        """Go to the list of runs, or back."""
        if self._list.has_focus:
            self._pane.take_focus()
        else:
            self._list.focus()

    @on(CompareRuns.Opened)
    def action_enter(self) -> None:
        """Compare what is offered; open the run under the cursor; give a chart all the room, or show all again."""
        if not self.compared.runs:
            self._accept()
        elif self._list.has_focus or self.tab != "curves":
            if self.selected is not None:
                self.plumbline.open_run(self.selected.id)
        else:
            self.charts.enter()

    def _accept(self) -> None:
        if self._offer:
            self.plumbline.marks.mark(self._offer)
            if self.plumbline.marks.baseline is None:
                self.plumbline.marks.set_baseline(self._offer[0])
            self._choose()

    def action_back(self) -> None:
        """Undo the innermost thing; then leave the screen."""
        if not (self.compared.runs and self._pane.restore()):
            self.dismiss()

    def action_unmark(self) -> None:
        """Take the run under the cursor out of the comparison."""
        run, marks = self._list.selected, self.plumbline.marks
        if run is not None:
            if marks.baseline == run.id:
                marks.set_baseline(run.id)
            if run.id in marks.marked:
                marks.toggle(run.id)
            self._choose()

    def action_baseline(self) -> None:
        """Hold all others against the run under the cursor."""
        run, marks = self._list.selected, self.plumbline.marks
        if run is None or run.place == 0:
            self.status.say("It is the baseline already: tab goes to the list, where another one is chosen.", "warning")
            return
        marks.mark([one.id for one in self.compared.runs])  # what was the baseline stays in the comparison
        marks.set_baseline(run.id)
        self._list.select(0)
        self._choose()
        self.status.say(f"{run.id} is the baseline.")

    def action_other(self) -> None:
        """Hold the next run against the baseline; of the baseline itself, its own checkpoints."""
        self._list.turn()

    @work
    async def action_export(self) -> None:
        """Ask what to write into a file of the working folder, and write it."""
        from engine.report.written import write_new
        from tui.comparison.exporting import PAGE, choices
        from tui.page_file import write_page
        from tui.screens.menu import MenuScreen

        pane, tab, ids = self._pane, self.tab, [run.id for run in self.compared.runs]
        if not self.compared.runs:
            return
        menu = MenuScreen("export", choices(tab, pane.hides() or pane.lacking(), self.samples.hides()))
        style = await self.app.push_screen_wait(menu)
        if style is None:
            return
        try:
            if style == PAGE:
                self.status.say(f"Making a page of {', '.join(ids)}…")
                path = await write_page(self.plumbline.database, ids, Path.cwd())
            else:
                text = await asyncio.to_thread(pane.written, style, self.plumbline.store)
                path = await asyncio.to_thread(write_new, Path.cwd(), f"{'-'.join(ids)}-{tab}", style, text)
        except PlumblineError as error:
            self.status.say(str(error), "error")
        else:
            self.status.say(f"Wrote {visible(str(path))}.")
