"""The Run screen: live charts, and below them the log, the events or the samples of one experiment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Input, Static

from engine.errors import PlumblineError
from tui.run_facts import RunFacts, RunReader, log_name
from tui.safe_text import visible
from tui.widgets.chart_grid import ChartGrid
from tui.widgets.log_view import LogView
from tui.widgets.run_header import RunHeader, silence
from tui.widgets.story import Story, events_text, samples_text

if TYPE_CHECKING:
    from engine.store.database import Store


class RunScreen(Screen[None]):
    """One experiment, followed while it runs."""

    CSS_PATH = "run.tcss"
    HORIZONTAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS: ClassVar[list[tuple[int, str]] | None] = [(0, "-short"), (30, "-tall")]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "maximise", "max"),
        Binding("escape", "back", "back"),
        Binding("x", "next_mode", "x axis"),
        Binding("v", "next_scale", "y axis"),
        Binding("comma", "smoother(-1)", "less smooth", show=False),
        Binding("full_stop", "smoother(1)", "smooth", key_display=", ."),
        Binding("plus,equals_sign", "zoom(1)", "zoom", key_display="+ -"),
        Binding("minus", "zoom(-1)", "zoom out", show=False),
        Binding("left", "move(-1)", "left", show=False),
        Binding("right", "move(1)", "right", show=False),
        Binding("0", "reset", "reset", show=False),
        Binding("i", "inspect", "inspect"),
        Binding("pagedown", "page(1)", "next charts", show=False),
        Binding("pageup", "page(-1)", "previous charts", show=False),
        Binding("l", "pane('log')", "log"),
        Binding("s", "pane('samples')", "samples"),
        Binding("exclamation_mark", "pane('events')", "events", key_display="!"),
        Binding("f", "follow", "follow", show=False),
        Binding("r", "next_log", "rank", show=False),
        Binding("slash", "search", "search", show=False),
        Binding("n", "match(1)", "next match", show=False),
        Binding("N", "match(-1)", "previous match", show=False),
        Binding("left_square_bracket", "neighbour(-1)", "previous run", show=False),
        Binding("right_square_bracket", "neighbour(1)", "next run", show=False),
    ]

    class Loaded(Message):
        """The facts were read, in a thread."""

        def __init__(self, facts: RunFacts) -> None:
            super().__init__()
            self.facts = facts

    class Failed(Message):
        """The facts could not be read."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    class Neighbour(Message):
        """Another experiment is to be shown."""

        def __init__(self, experiment_id: str) -> None:
            super().__init__()
            self.experiment_id = experiment_id

    def __init__(self, experiment_id: str) -> None:
        super().__init__()
        self.experiment_id = experiment_id
        self.facts: RunFacts | None = None
        self._reader: RunReader | None = None
        self._loading = False
        self._stale = False
        self._log_chosen = False
        self._said = ("", False)
        self._header = RunHeader()
        self._banner = Static(id="banner", markup=False)
        self._charts = ChartGrid(id="charts")
        self._log = LogView(id="log")
        self._events = Story(empty="No events yet.", id="events")
        self._samples = Story(empty="No samples yet: the model writes some at each evaluation.", id="samples")
        self._switcher = ContentSwitcher(self._log, self._events, self._samples, initial="log")
        self._search = Input(placeholder="search the log", id="search", compact=True)
        self._pane = Vertical(self._switcher, self._search, id="pane")

    def compose(self) -> ComposeResult:
        yield self._header
        yield self._banner
        yield self._charts
        yield self._pane
        yield Footer()

    @property
    def store(self) -> Store:
        """The database of the app."""
        return self.app.store  # type: ignore[attr-defined,no-any-return]

    def on_mount(self) -> None:
        self._charts.focus()
        self.set_interval(1.0, self._tell_silence)
        self.reload()

    def reload(self) -> None:
        """Read what is new; a call while one is under way is made up for after it."""
        self._stale = self._loading
        if not self._loading:
            self._loading = True
            if self._reader is None:
                self._reader = RunReader(self.store, self.experiment_id)
            self._read(self._reader, samples=self._switcher.current == "samples")

    @work(thread=True, group="facts")
    def _read(self, reader: RunReader, *, samples: bool) -> None:
        try:
            self.post_message(self.Loaded(reader.read(samples=samples)))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _show(self, message: Loaded) -> None:
        self._loading = False
        facts = message.facts
        if facts.experiment.id == self.experiment_id:
            self.facts = facts
            self._header.show(facts)
            self._charts.show(facts.experiment.kind, facts.curves, facts.marks)
            self._events.show(events_text(facts.events))
            if self._switcher.current == "samples":
                self._samples.show(samples_text(facts.samples))
            if facts.logs and not (self._log_chosen and self._log.path in facts.logs):
                self._log.open(facts.logs[0])
            self._tell_silence()
            self._tell_pane()
        if self._stale:
            self.reload()

    @on(Failed)
    def _refuse(self, message: Failed) -> None:
        self._loading = False
        self._say_banner(message.sentence, error=True)

    def _tell_silence(self) -> None:
        if self.facts is None:
            return
        experiment = self.facts.experiment
        lost = silence(self.facts, time.time())
        failed = experiment.state.ended and experiment.exit_code not in (None, 0)
        sentence = lost or (visible(experiment.reason) if experiment.reason else "")
        self._say_banner(sentence, error=failed)

    def _say_banner(self, sentence: str, *, error: bool) -> None:
        if (sentence, error) != self._said:
            self._said = (sentence, error)
            self._banner.update(sentence)
            self._banner.set_class(bool(sentence), "-shown")
            self._banner.set_class(error, "-error")

    def _tell_pane(self) -> None:
        log, pane = self._log, self._pane
        title = {"events": "events", "samples": "samples"}.get(str(self._switcher.current), "log")
        notes = []
        if title == "log" and log.path is not None:
            title = f"log {log_name(log.path)}"
            notes = ["following" if log.following else "not following: f"]
            if len(self.facts.logs if self.facts else ()) > 1:
                notes.append("r next rank")
            if log.found:
                notes.insert(0, log.found)
        if pane.border_title != title:
            pane.border_title = title
        subtitle = " · ".join(notes)
        if pane.border_subtitle != subtitle:
            pane.border_subtitle = subtitle

    @on(LogView.Changed)
    def _log_changed(self) -> None:
        self._tell_pane()

    @on(ChartGrid.Changed)
    def _charts_changed(self, message: ChartGrid.Changed) -> None:
        if message.sentence:
            self.notify(message.sentence, timeout=2)

    def action_maximise(self) -> None:
        """Give the whole screen to the focused chart."""
        if self._charts.maximise():
            self.add_class("-maximised")

    def action_back(self) -> None:
        """Undo the innermost thing: search, crosshair, maximised chart, pane; then leave the screen."""
        if self._search.has_class("-shown"):
            self._end_search("")
        elif self._charts.restore():
            self.set_class(self._charts.maximised is not None, "-maximised")
        elif self.has_class("-pane"):
            self._leave_pane()
        else:
            self.dismiss()

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
        """Show log, events or samples below the charts; on a small screen instead of them, and back."""
        if self.has_class("-pane") and self._switcher.current == name:
            self._leave_pane()
            return
        self.add_class("-pane")
        self._switcher.current = name
        self._tell_pane()
        if name == "samples":
            self.reload()
        self._pane.get_child_by_id("search").can_focus = False
        self.query_one(f"#{name}").focus()

    def action_follow(self) -> None:
        """Follow the end of the log, or stop."""
        self._log.toggle_following()
        self._tell_pane()

    def action_next_log(self) -> None:
        """Show the log of the next rank; after the last one the first."""
        logs = self.facts.logs if self.facts else ()
        if not logs:
            return
        at = logs.index(self._log.path) if self._log.path in logs else -1
        self._log_chosen = True
        self._log.open(logs[(at + 1) % len(logs)])
        self._tell_pane()

    def action_search(self) -> None:
        """Ask what to look for in the log."""
        if self._switcher.current != "log" or not self._pane.display:
            self.action_pane("log")
        self._search.can_focus = True
        self._search.add_class("-shown")
        self._search.focus()

    def action_match(self, direction: int) -> None:
        """Go to another match."""
        self._log.next_match(direction)

    @on(Input.Changed, "#search")
    def _search_live(self, event: Input.Changed) -> None:
        self._log.search(event.value)
        self._tell_pane()

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

    def _leave_pane(self) -> None:
        self.remove_class("-pane")
        charts = self._charts.charts
        if charts:
            charts[0].focus()

    @work(thread=True, group="neighbour", exclusive=True)
    def action_neighbour(self, direction: int) -> None:
        """Show the previous or next experiment of the list."""
        from engine.store import experiments

        ids = [experiment.id for experiment in experiments.list_experiments(self.store)]
        if self.experiment_id in ids:
            at = ids.index(self.experiment_id) + direction
            if 0 <= at < len(ids):
                self.post_message(self.Neighbour(ids[at]))

    @on(Neighbour)
    def _go_to(self, message: Neighbour) -> None:
        self.experiment_id = message.experiment_id
        self._reader, self.facts, self._log_chosen = None, None, False
        self._log.open(None)
        self._charts.maximised = None
        self.remove_class("-maximised")
        self.reload()
