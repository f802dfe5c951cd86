"""The Runs screen: all experiments, a filter, and beside the list what is known of the one under the cursor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Input, Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.data import Overview, OverviewReader
from tui.filtering import select
from tui.pace import Pace
from tui.standing import counts, standing
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_table import RunTable
from tui.widgets.status_line import StatusLine
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.experiments import Experiment
    from tui.app import PlumblineApp
    from tui.run_detail import Detail, DetailReader

_EMPTY = """\
No runs yet.

n  starts one from a recipe
?  shows all keys

or in a shell:  engine launch recipes/facts/sft.yaml"""


class RunsScreen(Screen[None]):
    """Home."""

    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("runs"))
    AUTO_FOCUS = "#runs"

    class Loaded(Message):
        """The list was read, in a thread."""

        def __init__(self, overview: Overview, seconds: float) -> None:
            super().__init__()
            self.overview, self.seconds = overview, seconds

    class DetailLoaded(Message):
        """One experiment was read, in a thread."""

        def __init__(self, detail: Detail) -> None:
            super().__init__()
            self.detail = detail

    class Failed(Message):
        """The list could not be read."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    class DetailFailed(Failed):
        """One experiment could not be read."""

    def __init__(self) -> None:
        super().__init__()
        self.overview: Overview | None = None
        self.show_archived = False
        self._reader: OverviewReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._wanted: str | None = None  # to select as soon as it is in the list
        self._detail: Detail | None = None
        self._detail_reader: DetailReader | None = None
        self._detail_reading: str | None = None
        self._story_text = Content()
        self._top = TopLine("Runs")
        self._filter = Input(
            placeholder="words of id, name, kind, state or tag; state:failed, -tag:old", id="filter", compact=True
        )
        self._count = Static(id="count", markup=False)
        self._table = RunTable(id="runs")
        self._empty = Static("reading…", id="empty", markup=False)
        self._story = Static(id="story", markup=False)
        self._detail_pane = VerticalScroll(self._story, id="detail")
        self._list_pane = Vertical(self._table, self._empty, id="list")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        with Horizontal(id="filter-line"):
            yield Static("/", id="filter-sign", markup=False)
            yield self._filter
            yield self._count
        with Horizontal(id="panes"):
            yield self._list_pane
            yield self._detail_pane
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The experiment that actions act on."""
        return self._table.selected

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def on_mount(self) -> None:
        self._list_pane.border_title = "runs"
        self.set_interval(1.0, self._tick)
        self._tell()

    def reload(self) -> None:
        """Read what is new."""
        if self.plumbline.store_is_open:
            self._pace.ask()
        else:
            self._tell()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._reader = OverviewReader(self.plumbline.store)
        self._read(self._reader, self.show_archived)

    @work(thread=True, group="overview")
    def _read(self, reader: OverviewReader, archived: bool) -> None:
        began = time.thread_time()
        try:
            self.post_message(self.Loaded(reader.read(archived=archived), time.thread_time() - began))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _show(self, message: Loaded) -> None:
        self.overview = message.overview
        self._show_list()
        self._load_detail()
        self._pace.done(message.seconds)

    @on(Failed)
    def _refuse(self, message: Failed) -> None:
        self.status.say(message.sentence, "error")
        self._pace.done(1.0)

    def _show_list(self) -> None:
        overview = self.overview
        if overview is None:
            return
        chosen = select(overview.experiments, self._filter.value)
        self._table.show(chosen, overview.tails or {}, time.time())
        if self._wanted is not None:
            self._table.select(self._wanted)
            if self._table.selected and self._table.selected.id == self._wanted:
                self._wanted = None
        if self._filter.value:
            self._count.update(f"{len(chosen)} of {len(overview.experiments)}")
        else:
            self._count.update("")
        self._tell()

    def neighbour(self, identity: str, direction: int) -> str | None:
        """Put the cursor on the run after (1) or before (-1) this one, as the list is filtered, and return its id."""
        self._table.select(identity)
        here = self._table.selected
        if here is None or here.id != identity:
            return None
        self._table.action_move(direction)
        there = self._table.selected
        return None if there is None or there.id == identity else there.id

    def want(self, identity: str) -> None:
        """Put the cursor on this experiment as soon as it is there."""
        self._filter.value = ""
        self._wanted = identity
        self._show_list()

    def _tell(self) -> None:
        """Say how things stand: top line, title, status line, keys."""
        experiments = self.overview.experiments if self.overview else ()
        nothing = self._table.selected is None
        self.set_class(nothing, "-nothing")
        if nothing:
            self._empty.update(self._nothing_text())
        number = f"{len(experiments)} run{'s' if len(experiments) != 1 else ''}" if experiments else "runs"
        self._list_pane.border_title = number + (", archived ones too" if self.show_archived else "")
        self._top.show(counts(experiments))
        self._tell_standing()
        self._keys.tell()

    def _tell_standing(self) -> None:
        experiments = self.overview.experiments if self.overview else ()
        self.status.facts(standing(experiments, self.plumbline.dispatcher_pid, time.time()))

    def _nothing_text(self) -> str:
        if self.overview is None:
            return "reading…" if self.plumbline.database.exists() else _EMPTY
        return "No run matches the filter.\n\nesc  clears it" if self.overview.experiments else _EMPTY

    def _tick(self) -> None:
        if self.is_current:
            self._table.tick(time.time())
            self._tell_standing()
            self._show_detail()

    @on(RunTable.Moved)
    def _moved(self) -> None:
        self._detail_pane.scroll_home(animate=False)
        self._load_detail()
        self._tell()

    def on_screen_resume(self) -> None:
        self.reload()

    def on_resize(self) -> None:
        self.call_after_refresh(self._load_detail)
        self.call_after_refresh(self._show_detail)

    def _load_detail(self) -> None:
        experiment = self.selected
        if experiment is None or self._detail_reading is not None or not self._detail_pane.display:
            return
        if self._detail is None or self._detail.experiment != experiment:
            self._detail_reading = experiment.id
            self._read_detail(experiment.id)

    @work(thread=True, group="detail")
    def _read_detail(self, identity: str) -> None:
        from tui.run_detail import DetailReader

        if self._detail_reader is None:
            self._detail_reader = DetailReader(self.plumbline.store)
        try:
            self.post_message(self.DetailLoaded(self._detail_reader.read(identity)))
        except PlumblineError as error:
            self.post_message(self.DetailFailed(str(error)))

    @on(DetailFailed)
    def _detail_failed(self, message: DetailFailed) -> None:
        self._detail_reading = None
        self.status.say(message.sentence, "error")

    @on(DetailLoaded)
    def _detail_loaded(self, message: DetailLoaded) -> None:
        self._detail_reading, self._detail = None, message.detail
        self._show_detail()
        if self.selected is not None and self.selected.id != message.detail.experiment.id:
            self._load_detail()

    def _show_detail(self) -> None:
        from tui.run_detail import detail_text

        if self._detail is not None and self.selected is not None and self._detail.experiment.id == self.selected.id:
            self._detail_pane.border_title = self._detail.experiment.id
            text = detail_text(self._detail, time.time(), self._detail_pane.scrollable_content_region.width)
            if text != self._story_text:
                self._story_text = text
                self._story.update(text)

    @on(RunTable.Opened)
    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.selected is not None:
            self.plumbline.open_run(self.selected.id)

    def action_filter(self) -> None:
        """Ask for the words of the filter."""
        self.add_class("-filtering")
        self._filter.focus()

    @on(Input.Changed, "#filter")
    def _filter_live(self) -> None:
        self._show_list()
        self._load_detail()

    @on(Input.Submitted, "#filter")
    def _filter_done(self) -> None:
        self.set_class(bool(self._filter.value), "-filtering")
        self._table.focus()

    def action_unfilter(self) -> None:
        """Show all again; from the detail pane, go back to the list."""
        self._filter.value = ""
        self.remove_class("-filtering", "-detail")
        self._table.focus()

    def action_pane(self) -> None:
        """Go to the other pane; where there is room for one, show it."""
        if self._table.has_focus or self._filter.has_focus:
            self.add_class("-detail")
            self._load_detail()
            self._detail_pane.focus()
        else:
            self.remove_class("-detail")
            self._table.focus()

    def action_archived(self) -> None:
        """Show archived runs too, or hide them."""
        self.show_archived = not self.show_archived
        if self.plumbline.store_is_open:
            self._pace.ask(at_once=True)
