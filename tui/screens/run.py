"""The Run screen: live charts, and below them the log, the events or the samples of one experiment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Input

from engine.errors import PlumblineError
from tui.actions import table
from tui.canvas.charset import current
from tui.pace import Pace
from tui.run_facts import RunFacts, RunReader
from tui.safe_text import visible
from tui.standing import counts, dispatcher_standing
from tui.widgets.banner import Banner, news
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.key_bar import KeyBar
from tui.widgets.log_view import LogView
from tui.widgets.pane_bar import PaneBar
from tui.widgets.run_header import RunHeader
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story, events_lines, samples_lines
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.experiments import Experiment
    from tui.app import PlumblineApp


class RunScreen(Screen[None]):
    """One experiment, followed while it runs."""

    CSS_PATH = "run.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("charts"))
    AUTO_FOCUS = ""

    class Loaded(Message):
        """The facts were read, in a thread. seconds: of CPU that it took."""

        def __init__(self, reader: RunReader, facts: RunFacts, seconds: float) -> None:
            super().__init__()
            self.reader, self.facts, self.seconds = reader, facts, seconds

    class Failed(Message):
        """The facts could not be read."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    def __init__(self, experiment_id: str) -> None:
        super().__init__()
        self.experiment_id = experiment_id
        self.facts: RunFacts | None = None
        self._reader: RunReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._problem: str | None = None  # why it cannot be read
        self._log_chosen = False
        self._top = TopLine("Run")
        self._header = RunHeader()
        self._banner = Banner(id="banner")
        self._charts = ChartGrid(id="charts")
        self._pane_bar = PaneBar(("log", "samples", "events"))
        self._log = LogView(id="log")
        self._samples = Story(empty="No samples yet: the model writes some at each evaluation.", id="samples")
        self._events = Story(empty="No events yet.", id="events")
        self._switcher = ContentSwitcher(self._log, self._samples, self._events, initial="log")
        self._search = Input(placeholder="search the log", id="search", compact=True)
        self._pane = Vertical(self._pane_bar, self._switcher, self._search, id="pane")
        self._status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        yield self._header
        yield self._banner
        yield self._charts
        yield self._pane
        yield self._status
        yield self._keys

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    @property
    def selected(self) -> Experiment | None:
        """The experiment that actions act on."""
        return self.facts.experiment if self.facts else None

    def on_mount(self) -> None:
        self._search.can_focus = False
        self._top.show([], self.experiment_id)
        self.set_interval(1.0, self._tick)
        self.reload()

    def reload(self) -> None:
        """Read what is new."""
        self._pace.ask()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._reader = RunReader(self.plumbline.store, self.experiment_id)
        self._read(self._reader, samples=self._switcher.current == "samples")

    @work(thread=True, group="facts")
    def _read(self, reader: RunReader, *, samples: bool) -> None:
        began = time.thread_time()
        try:
            facts = reader.read(samples=samples)
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))
        else:
            self.post_message(self.Loaded(reader, facts, time.thread_time() - began))

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if message.reader is self._reader:
            first = self.facts is None
            self.facts, self._problem = message.facts, None
            self._show(message.facts)
            if first and self.focused is None:
                self.call_after_refresh(self._charts.focus_first)
        self._pace.done(message.seconds)

    @on(Failed)
    def _refuse(self, message: Failed) -> None:
        self._problem = message.sentence
        self._tick()
        self._pace.done(1.0)

    def _show(self, facts: RunFacts) -> None:
        experiment = facts.experiment
        name = "" if experiment.name == experiment.id else f"  {visible(experiment.name)}"
        self._top.show(counts(facts.live), experiment.id + name)
        self._header.show(facts)
        empty = "no points were logged" if experiment.state.ended else f"no points yet: it is {experiment.state}"
        self._charts.show(experiment.kind, facts.curves, facts.marks, facts.targets, empty)
        self._show_story(facts)
        if facts.logs and not (self._log_chosen and self._log.path in facts.logs):
            self._log.open(facts.logs[0])
        self._tick()
        self._tell_pane()
        self._keys.tell()

    def _show_story(self, facts: RunFacts) -> None:
        if self._switcher.current == "events":
            self._events.show(events_lines(facts.events))
        elif self._switcher.current == "samples":
            self._samples.show(samples_lines(facts.samples))

    def _tick(self) -> None:
        """Tell what changes with time alone."""
        if self._problem is not None:
            self._banner.tell(("error", self._problem))
        elif self.facts is not None:
            self._banner.tell(news(self.facts, time.time()))
        self._tell_standing()

    def _tell_standing(self) -> None:
        charts, view = self._charts, self._charts.view
        parts = [f"charts {charts.page + 1}/{charts.pages}: pgdn"] if charts.pages > 1 else []
        if charts.crossed_step is not None:
            parts.append(f"crosshair at step {charts.crossed_step}")
        parts += [f"x {view.mode}", f"smoothing {view.smoothing:g}"]
        if view.window is not None:
            parts.append("zoomed: 0 shows all")
        separator = f"  {current().separator}  "
        live = bool(self.facts and self.facts.live)
        dispatcher = dispatcher_standing(self.plumbline.dispatcher_pid, needed=live)
        self._status.facts(Content.assemble(separator.join(parts), separator, dispatcher))

    def _tell_pane(self) -> None:
        log, chosen = self._log, str(self._switcher.current)
        notes: tuple[str, ...] = ()
        if chosen == "log" and log.path is not None and self.facts is not None:
            ranks = ("r next rank",) if len(self.facts.logs) > 1 else ()
            follows = "following" if log.following else "f follows"
            found = (log.found,) if log.found else ()
            notes = (*ranks, *self.facts.log_name(log.path), follows, *found)
        self._pane_bar.show(chosen, notes)

    @on(LogView.Changed)
    def _log_changed(self) -> None:
        self._tell_pane()

    @on(ChartGrid.Told)
    def _charts_told(self, message: ChartGrid.Told) -> None:
        self._status.say(message.sentence)

    def on_descendant_focus(self) -> None:
        self._tell_focus()

    def on_descendant_blur(self) -> None:
        self._tell_focus()

    def _tell_focus(self) -> None:
        self._pane_bar.set_class(self.focused is not None and self._pane in self.focused.ancestors, "-focused")

    def action_maximise(self) -> None:
        """Give the whole screen to the focused chart, or show all again."""
        self._charts.maximise()

    @on(ChartGrid.Arranged)
    def _arranged(self) -> None:
        self.set_class(self._charts.maximised is not None, "-maximised")
        self._tell_standing()

    def action_back(self) -> None:
        """Undo the innermost thing: search, crosshair, zoom, maximised chart, pane; then leave the screen."""
        if self._search.has_class("-shown"):
            self._end_search("")
        elif self._charts.display and self._charts.restore():
            return
        elif self.has_class("-pane") or self._pane_has_focus:
            self._leave_pane()
        else:
            self.dismiss()

    @property
    def _pane_has_focus(self) -> bool:
        return self._pane_bar.has_class("-focused")

    def action_next_mode(self) -> None:
        """Let the x axis count the next thing."""
        self._charts.next_mode()

    def action_next_scale(self) -> None:
        """Change the y axis."""
        self._charts.next_scale()

    def action_smoother(self, by: int) -> None:
        """Smooth more or less."""
        self._charts.smoother(by)

    def action_zoom(self, direction: int) -> None:
        """Show less or more of the x axis."""
        self._charts.zoom(direction)

    def action_move(self, direction: int) -> None:
        """Move the crosshair, or the window."""
        self._charts.move(direction)

    def action_row(self, by: int) -> None:
        """Go to the chart below or above."""
        self._charts.focus_row(by)

    def action_reset(self) -> None:
        """Show everything."""
        self._charts.reset()

    def action_inspect(self) -> None:
        """Show or hide the crosshair."""
        self._charts.inspect()

    def action_page(self, by: int) -> None:
        """Show more charts."""
        self._charts.turn_page(by)

    def action_pane(self, name: str) -> None:
        """Show log, events or samples below the charts, on a small screen instead of them; once more: back to these."""
        if self._switcher.current == name and self._pane_has_focus:
            self._leave_pane()
            return
        if self._charts.maximised is not None:
            self._charts.maximise()
        self.add_class("-pane")
        self._switcher.current = name
        if self.facts is not None:
            self._show_story(self.facts)
        if name == "samples":
            self._pace.ask(at_once=True)
        self._tell_pane()
        self.query_one(f"#{name}").focus()

    @on(PaneBar.Chosen)
    def _tab_clicked(self, message: PaneBar.Chosen) -> None:
        if not (self._pane_has_focus and self._switcher.current == message.name):
            self.action_pane(message.name)

    def action_follow(self) -> None:
        """Follow the end of the log, or stop."""
        self._log.toggle_following()
        self._tell_pane()

    def action_next_log(self) -> None:
        """Show the log of the next rank; after the last one the first."""
        logs = self.facts.logs if self.facts else ()
        if len(logs) < 2:
            self._status.say("There is no other log." if logs else "There is no log yet.", "warning")
            return
        at = logs.index(self._log.path) if self._log.path in logs else -1
        self._log_chosen = True
        self._log.open(logs[(at + 1) % len(logs)])
        self._show_log()

    def action_search(self) -> None:
        """Ask what to look for in the log."""
        self._show_log()
        self._search.can_focus = True
        self._search.add_class("-shown")
        self._search.focus()

    def action_match(self, direction: int) -> None:
        """Go to another match."""
        if self._log.pattern is None:
            self._status.say("Nothing is searched for: / searches the log.", "warning")
        else:
            self._show_log()
            self._log.next_match(direction)

    @on(Input.Changed, "#search")
    def _search_live(self, event: Input.Changed) -> None:
        self._log.search(event.value)

    @on(Input.Submitted, "#search")
    def _search_done(self, event: Input.Submitted) -> None:
        self._end_search(event.value)

    def _end_search(self, text: str) -> None:
        self._search.remove_class("-shown")
        self._search.can_focus = False
        if not text:
            self._search.value = ""
            self._log.search("")
        self._log.focus()
        self._tell_pane()

    def _show_log(self) -> None:
        if not (self._switcher.current == "log" and self._pane.display and self._pane_has_focus):
            self.action_pane("log")
        self._tell_pane()

    def _leave_pane(self) -> None:
        self.remove_class("-pane")
        self._charts.focus_first()

    def action_neighbour(self, direction: int) -> None:
        """Show the previous or next experiment of the list, as it is filtered."""
        identity = self.plumbline.neighbour(self.experiment_id, direction)
        if identity is None:
            end = "last" if direction > 0 else "first"
            self._status.say(f"{self.experiment_id} is the {end} run of the list.", "warning")
            return
        self.experiment_id = identity
        self._reader, self.facts, self._problem, self._log_chosen = None, None, None, False
        self._log.open(None)
        self._charts.clear()
        self._events.show(())
        self._samples.show(())
        self._header.show(None)
        self._banner.tell(None)
        self._top.show([], identity)
        self._pace.ask(at_once=True)
