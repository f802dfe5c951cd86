"""The Run screen: live charts of one experiment, and below them its log, samples, events, spec or lineage."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.content import Content
from textual.message import Message

from engine.errors import PlumblineError
from tui.actions import table
from tui.canvas.charset import current
from tui.pace import Later, Pace
from tui.run.curves import XMode
from tui.run.facts import RunFacts, RunReader
from tui.run.kept_readers import KeptReaders
from tui.run.panels import Pointed, axis_name
from tui.run.tracks import Look
from tui.run.view import View
from tui.screens.run_keys import RunKeys
from tui.standing import counts, dispatcher_standing
from tui.text.safe import visible
from tui.widgets.banner import Banner, news
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.family import Family
from tui.widgets.key_bar import KeyBar
from tui.widgets.pane_bar import PaneBar
from tui.widgets.run_header import RunHeader
from tui.widgets.run_panes import READ_FOR, RunPanes
from tui.widgets.status_line import StatusLine
from tui.widgets.telling import Changed, Told
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.experiment import Experiment


_KEPT_FOR = 60.0  # seconds that what was read of a run is kept while another screen is shown


class RunScreen(RunKeys):
    """One experiment, followed while it runs."""

    CSS_PATH = "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("charts"))
    AUTO_FOCUS = ""

    class Loaded(Message):
        """The facts were read, in a thread. seconds: of CPU that it took."""

        def __init__(self, reader: RunReader, facts: RunFacts, seconds: float) -> None:
            super().__init__()
            self.reader, self.facts, self.seconds = reader, facts, seconds

    def __init__(self, experiment_id: str) -> None:
        super().__init__()
        self.experiment_id = experiment_id
        self.facts: RunFacts | None = None
        self._readers = KeptReaders()
        self._reader: RunReader | None = None
        self._pace = Pace(self, self._begin_read, longest_rest=0.3)
        self._charts_later, self._charts_behind = Later(self), False
        self._looked: Look | None = None  # what was in sight at the last read
        self._left_at = 0.0  # when another screen covered it
        self._problem: str | None = None  # why it cannot be read
        self._top = TopLine("Run")
        self._header = RunHeader()
        self._banner = Banner(id="banner")
        self._charts = ChartGrid(id="charts")
        self._panes = RunPanes(id="pane")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        yield self._header
        yield self._banner
        yield self._charts
        yield self._panes
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The experiment that actions act on."""
        return self.facts.experiment if self.facts else None

    def on_mount(self) -> None:
        self._top.show([], self.experiment_id)
        self.set_interval(1.0, self._tick)
        self.reload()

    def on_screen_suspend(self) -> None:
        self._left_at = time.monotonic()

    def shown_again(self) -> None:
        """Read what is new; at once, if it is another run."""
        self._pace.ask(at_once=self.facts is None)
        self._tick()

    def reload(self) -> None:
        """Read what is new."""
        self._pace.ask()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._reader = self._readers.of(self.plumbline.store, self.experiment_id)
        self._looked = self._charts.look
        self._read(self._reader, self._panes.chosen if self._panes.chosen in READ_FOR else "", self._looked)

    @work(thread=True, group="facts")
    def _read(self, reader: RunReader, pane: str, look: Look | None) -> None:
        began = time.thread_time()
        try:
            facts = reader.read(pane, look)
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))
        else:
            self.post_message(self.Loaded(reader, facts, time.thread_time() - began))

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if self.comes_too_late(message.seconds):
            return
        if message.reader is self._reader:
            first = self.facts is None
            self.facts, self._problem = message.facts, None
            self._show(message.facts)
            if first and self.focused is None:
                self.call_after_refresh(self._charts.focus_first)
        self._pace.done(message.seconds)

    def _refuse(self, sentence: str) -> None:
        self._problem = sentence
        self._tick()

    def _show(self, facts: RunFacts) -> None:
        experiment = facts.experiment
        name = "" if experiment.name == experiment.id else f"  {visible(experiment.name)}"
        self._top.show(counts(facts.live), experiment.id + name)
        self._header.show(facts)
        self._charts_behind = True
        if self._charts_later.is_due() or not self._charts.curves.series:
            self._draw(facts)
        self._panes.show(facts)
        self._tick()
        self._keys.tell()

    def _draw(self, facts: RunFacts) -> None:
        """Show the charts as they are now."""
        state = facts.experiment.state
        empty = "no points were logged" if state.ended else f"no points yet: it is {state}"
        self._charts.show(facts.experiment.kind, facts.curves, facts.marks, facts.targets, empty)
        self._charts_behind = False

    def _tick(self) -> None:
        """Tell what changes with time alone, and what came later than the rest."""
        if not self.is_current:
            if time.monotonic() - self._left_at > _KEPT_FOR:
                self._reader = None
                self._readers.forget()  # with all the points that they have
            return
        if self._charts_behind and self.facts is not None and self._charts_later.is_due():
            self._draw(self.facts)
        if self._problem is not None:
            self._banner.tell(("error", self._problem))
        elif self.facts is None:
            self._charts.wait("reading…")
        elif self.facts is not None:
            self._banner.tell(news(self.facts, time.time()))
        self._tell_standing()

    def _tell_standing(self) -> None:
        charts, view = self._charts, self._charts.view
        parts = [f"charts {charts.page + 1}/{charts.pages}: pgdn"] if charts.pages > 1 else []
        if (crossed := charts.crossed) is not None:
            step, moment = crossed
            when = f", {time.strftime('%H:%M:%S', time.localtime(moment))}" if view.mode is XMode.CLOCK else ""
            parts.append(f"crosshair at step {step}{when}")
        kind = self.facts.experiment.kind if self.facts else ""
        parts += [f"x {axis_name(view.mode, kind, charts.newest)}", f"smoothing {view.smoothing:g}"]
        if view.window is not None:
            parts.append("zoomed: 0 shows all")
        separator = f"  {current().separator}  "
        live = bool(self.facts and self.facts.live)
        dispatcher = dispatcher_standing(self.plumbline, needed=live)
        self.status.facts(Content.assemble(separator.join(parts), separator, dispatcher))

    @on(Told)
    def _told(self, message: Told) -> None:
        self.status.say(message.sentence, message.severity)

    @on(RunPanes.Wanted)
    def _pane_wanted(self) -> None:
        self._pace.ask(at_once=True)

    @on(Family.Opened)
    def _relative_opened(self, message: Family.Opened) -> None:
        self._show_other(message.identity)

    def on_descendant_focus(self) -> None:
        self._tell_focus()

    def on_descendant_blur(self) -> None:
        self._tell_focus()

    def _tell_focus(self) -> None:
        self._panes.bar.set_class(self.focused is not None and self._panes in self.focused.ancestors, "-focused")

    @on(Changed)
    def _arranged(self) -> None:
        self.set_class(self._charts.maximised is not None, "-maximised")
        if self.focused is None and self._charts.display and self.app.app_focus:
            self._charts.focus_first()  # it was asked to before there was a chart
        self._tell_standing()
        if self._charts.is_coarse and self._charts.look != self._looked:
            self._pace.ask(at_once=True)

    def action_back(self) -> None:
        """Undo the innermost thing: search, crosshair, zoom, maximised chart, pane; then leave the screen."""
        if self._panes.searching:
            self._panes.end_search("")
        elif self._charts.display and self._charts.restore():
            return
        elif self.has_class("-pane") or self._pane_has_focus:
            self._leave_pane()
        else:
            self.dismiss()

    @property
    def _pane_has_focus(self) -> bool:
        return self._panes.bar.has_class("-focused")

    def action_pane(self, name: str) -> None:
        """Show a pane below the charts, on a small screen instead of them; once more: back to these."""
        if self._panes.chosen == name and self._pane_has_focus:
            self._leave_pane()
            return
        if self._charts.maximised is not None:
            self._charts.maximise()
        self.add_class("-pane")
        self._panes.choose(name)

    @on(PaneBar.Chosen)
    def _tab_clicked(self, message: PaneBar.Chosen) -> None:
        if not (self._pane_has_focus and self._panes.chosen == message.name):
            self.action_pane(message.name)

    @work
    async def action_choose_log(self) -> None:
        """Show the log of another rank: of two the other one, of more the one that is chosen."""
        from tui.screens.menu import MenuScreen

        logs = self._panes.logs
        if len(logs) < 2:
            ended = self.selected is not None and self.selected.state.ended
            absent = "The run left no log here." if ended else "There is no log yet."
            self.status.say("There is no other log." if logs else absent, "warning")
            return
        chosen = self._panes.next_log()
        if len(logs) > 2:
            answer = await self.app.push_screen_wait(MenuScreen("logs", self._panes.log_choices()))
            if answer is None:
                return
            chosen = Path(answer)
        self._panes.open_log(chosen)
        self._show_log()

    def action_search(self) -> None:
        """Ask what to look for in the log."""
        self._show_log()
        self._panes.begin_search()

    def action_match(self, direction: int) -> None:
        """Go to another match."""
        if self._panes.log_view.pattern is None:
            self.status.say("Nothing is searched for: / searches the log.", "warning")
        else:
            self._show_log()
            self._panes.log_view.next_match(direction)

    @property
    def pointed(self) -> Pointed | None:
        """The value under the crosshair in the chosen chart."""
        return self._charts.pointed

    @work
    async def action_export(self) -> None:
        """Ask what to write into a file of the working folder, and write it."""
        from tui.page_file import write_page
        from tui.run.exporting import PAGE, export_choices, write_curves
        from tui.screens.menu import MenuScreen

        charts, identity, marks = self._charts, self.experiment_id, self.facts.marks if self.facts else []
        panel, curves = charts.chosen, charts.curves
        choice = await self.app.push_screen_wait(MenuScreen("export", export_choices(panel, curves, identity)))
        if choice is None or (panel is None and choice != PAGE):
            return
        try:
            if panel is None or choice == PAGE:
                self.status.say(f"Making a page of {identity}…")
                path = await write_page(self.plumbline.database, [identity], Path.cwd())
            else:
                path = await asyncio.to_thread(
                    write_curves, choice, panel, self.plumbline.store, Path.cwd(), identity=identity, marks=marks
                )
        except PlumblineError as error:
            self.status.say(str(error), "error")
        else:
            self.status.say(f"Wrote {visible(str(path))}.")

    def _show_log(self) -> None:
        if not (self._panes.chosen == "log" and self._panes.display and self._pane_has_focus):
            self.action_pane("log")
        self._panes.tell()

    def _leave_pane(self) -> None:
        self.remove_class("-pane")
        self._charts.focus_first()

    def action_neighbour(self, direction: int) -> None:
        """Show the previous or next experiment of the list, as it is filtered."""
        identity = self.plumbline.neighbour(self.experiment_id, direction)
        if identity is None:
            end = "last" if direction > 0 else "first"
            self.status.say(f"{self.experiment_id} is the {end} run of the list.", "warning")
        else:
            self._show_other(identity)

    def show_run(self, identity: str) -> None:
        """Be the screen of an experiment: of another one than before as if there had been none before."""
        if identity == self.experiment_id:
            return
        self.remove_class("-pane")
        self.set_focus(None)
        self.status.silence()
        self._panes.start_over()
        self._charts.view = View()
        self._forget(identity)

    def _show_other(self, identity: str) -> None:
        """Show another experiment in the same way."""
        self._forget(identity)
        self._pace.ask(at_once=True)

    def _forget(self, identity: str) -> None:
        """Show nothing, until this experiment was read."""
        if self._reader is not None:
            self._reader.is_wanted = False
        self.experiment_id = identity
        self._reader, self.facts, self._problem = None, None, None
        self._panes.clear()
        self._charts.clear()
        self._header.show(None)
        self._banner.tell(None)
        self._top.show([], identity)
