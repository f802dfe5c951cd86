"""The Runs screen: all experiments, a filter, and beside the list what is known of the one under the cursor."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.data import Overview, OverviewReader
from tui.pace import Later, Pace
from tui.run_list import Heading, View, arranged
from tui.screens.runs_changes import RunChanges
from tui.screens.runs_choices import RunChoices
from tui.screens.runs_exporting import RunExports
from tui.standing import counts, standing
from tui.text.changes import entitle, tell
from tui.text.keys import with_keys
from tui.widgets.filter_line import FilterLine
from tui.widgets.key_bar import KeyBar
from tui.widgets.run_detail_pane import RunDetailPane
from tui.widgets.run_table import Listing, RunTable
from tui.widgets.status_line import StatusLine
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    import asyncio

    from engine.store.experiment import Experiment

_EMPTY = """\
No runs yet.

n  starts one from a recipe
?  shows all keys

or in a shell:  engine launch recipes/facts/sft.yaml"""


class RunsScreen(RunChoices, RunChanges, RunExports):
    """Home."""

    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("runs"))
    AUTO_FOCUS = "#runs"

    class Loaded(Message):
        """The list was read, in a thread."""

        def __init__(self, overview: Overview, seconds: float) -> None:
            super().__init__()
            self.overview, self.seconds = overview, seconds

    def __init__(self) -> None:
        super().__init__()
        self.overview: Overview | None = None
        self.view = View()
        self.show_archived = False
        self._reader: OverviewReader | None = None
        self._pace = Pace(self, self._begin_read, longest_rest=0.3)
        self._tails_later, self._tails_behind = Later(self), False
        self._wanted: str | None = None  # to select as soon as it is in the list
        self._listed: Sequence[Experiment] = ()
        self._lines: Sequence[Experiment | Heading] = ()
        self._folded: set[str] = set()
        self._waiting: list[asyncio.Future[None]] = []  # for the values of specs
        self._top = TopLine("Runs")
        self._filter = FilterLine()
        self.table = RunTable(id="runs")
        self._empty = Static("reading…", id="empty", markup=False)
        self._detail = RunDetailPane(id="detail")
        self._list_pane = Vertical(self.table, self._empty, id="list")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        yield self._filter
        with Horizontal(id="panes"):
            yield self._list_pane
            yield self._detail
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The experiment under the cursor."""
        return self.table.selected

    @property
    def marked(self) -> tuple[Experiment, ...]:
        """The marked experiments, also those that the filter hides."""
        marks = self.plumbline.marks.marked
        known = {one.id: one for one in self.overview.experiments} if self.overview and marks else {}
        return tuple(known[identity] for identity in marks if identity in known)

    @property
    def listed(self) -> Sequence[Experiment]:
        """The experiments that the filter leaves, in the order of the list; those of folded groups come last."""
        shown = self.table.experiments
        there = {one.id for one in shown}
        return [*shown, *(one for one in self._listed if one.id not in there)]

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
        tails = self._tails_later.is_due()
        self._tails_behind = not tails
        self._read(self._reader, self._sees_archived, self._needs_specs, self._needs_best, tails)

    @property
    def _sees_archived(self) -> bool:
        return self.show_archived or "archived" in self.view.filter

    @property
    def _needs_specs(self) -> bool:
        asked = bool(self._waiting) or self.view.needs_specs or self._filter.typed_in
        filtered = "spec." in self.view.filter or "cfg." in self.view.filter
        return asked or filtered or (self.overview is not None and self.overview.specs is not None)

    @property
    def _needs_best(self) -> tuple[str, ...]:
        from engine.store.filtering.keys import best_metrics

        return best_metrics(self.view.filter, self.view.sort)

    @work(thread=True, group="overview")
    def _read(self, reader: OverviewReader, archived: bool, specs: bool, best: tuple[str, ...], tails: bool) -> None:
        began = time.thread_time()
        try:
            overview = reader.read(archived=archived, specs=specs, best=best, tails=tails)
            self.post_message(self.Loaded(overview, time.thread_time() - began))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _show(self, message: Loaded) -> None:
        self.overview = message.overview
        if message.overview.specs is not None:
            while self._waiting:
                self._waiting.pop().set_result(None)
        if not self.table.is_empty and self.comes_too_late(message.seconds):
            return
        if self._filter.typed_in:
            self._know()
        self._show_list()
        self._pace.done(message.seconds)

    async def with_specs(self) -> Overview | None:
        """Return the overview with the values of specs in it, as soon as they are read."""
        import asyncio

        if self.plumbline.store_is_open and (self.overview is None or self.overview.specs is None):
            told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(told)
            self._pace.ask(at_once=True)
            await told
        return self.overview

    def look(self, view: View) -> None:
        """Show the list as this view has it."""
        before, self.view = self._sees_archived, view
        if self._filter.text != view.filter:
            self._filter.put(view.filter)
        overview = self.overview
        lacks_specs = self._needs_specs and overview is not None and overview.specs is None
        lacks_best = overview is not None and not set(self._needs_best) <= set(overview.best)
        if self._sees_archived != before or lacks_specs or lacks_best:
            self._ask_at_once()
        self._show_list()

    def _ask_at_once(self) -> None:
        if self.plumbline.store_is_open:
            self._pace.ask(at_once=True)

    def _know(self) -> None:
        """Let the filter complete with the words that there are."""
        from engine.store.filtering.completion import Vocabulary

        if self.overview is not None:
            self._filter.know(Vocabulary(self.overview.experiments, self.overview.specs))

    def _show_list(self) -> None:
        overview = self.overview
        if overview is None:
            return
        from engine.errors import InvalidInput
        from engine.store.filtering.language import InvalidFilter
        from engine.store.filtering.selecting import select

        now, specs = time.time(), overview.specs or {}
        error: InvalidFilter | None = None
        try:
            self._listed = select(overview.experiments, self.view.filter, specs, now=now)
        except InvalidFilter as found:
            error = found  # what the last valid one left stays
        try:
            lines = arranged(self._listed, self.view, specs, self._folded, now)
        except InvalidInput as found:  # a metric that nothing here has
            self.status.say(str(found), "warning")
            lines = list(self._listed)
        self._put(lines, now)
        number, all_of_them = len(self._listed), len(overview.experiments)
        self._filter.tell(f"{number} of {all_of_them}" if self.view.filter else "", error)
        if self._wanted is not None:
            self.table.select(self._wanted)
            if self.selected is not None and self.selected.id == self._wanted:
                self._wanted = None
        self._tell()
        self._look_at_detail()

    def _put(self, lines: Sequence[Experiment | Heading], now: float) -> None:
        from tui.widgets.run_signs import signs_of

        self._lines = lines
        overview = self.overview or Overview()
        listing = Listing(
            lines,
            overview.tails,
            self.view.columns,
            overview.specs or {},
            signs_of(self._listed, self.plumbline.marks),
            grouped=bool(self.view.levels),
            sort=self.view.sort,
        )
        self.table.show(listing, now)

    def tell_marks(self) -> None:
        """Show the marks as they are now."""
        self._put(self._lines, time.time())
        self._tell()
        self._look_at_detail()

    def neighbour(self, identity: str, direction: int) -> str | None:
        """Put the cursor on the run after (1) or before (-1) this one, as the list is filtered, and return its id."""
        there = self.table.neighbour(identity, direction)
        return None if there is None else there.id

    def want(self, identity: str) -> None:
        """Put the cursor on this experiment as soon as it is there."""
        self._wanted = identity
        self.look(self.view.changed(filter=""))

    def _tell(self) -> None:
        """Say how things stand: top line, titles, status line, keys."""
        experiments = self.overview.experiments if self.overview else ()
        nothing = self.table.is_empty
        self.set_class(nothing, "-nothing")
        if nothing:
            tell(self._empty, with_keys(self._nothing_text()))
        number = f"{len(experiments)} run{'s' if len(experiments) != 1 else ''}" if experiments else "runs"
        archived = ", archived ones too" if self._sees_archived else ""
        marked = len(self.marked)
        entitle(self._list_pane, f"{number}{archived}{f', {marked} marked' if marked else ''}", _subtitle(self.view))
        self._top.show(counts(experiments))
        self._tell_standing()
        self._keys.tell()

    def _tell_standing(self) -> None:
        experiments = self.overview.experiments if self.overview else ()
        self.status.facts(standing(experiments, self.plumbline, time.time()))

    def _nothing_text(self) -> str:
        if self.overview is None:
            return "reading…" if self.plumbline.database.exists() else self._none_text()
        return "No run matches the filter.\n\nesc  clears it" if self.overview.experiments else self._none_text()

    def _none_text(self) -> str:
        return _EMPTY if self.plumbline.intents.dispatches else "Experiments are generated: a few seconds…"

    def _tick(self) -> None:
        if self.is_current:
            self.table.tick(time.time())
            self._tell_standing()
            self._look_at_detail()
            if self._tails_behind:
                self.reload()

    @on(RunTable.Moved)
    def _moved(self) -> None:
        if self.is_current:  # else another screen moved the cursor
            self._look_at_detail()
            self._tell()

    def _look_at_detail(self) -> None:
        self._detail.look_at(self.selected, self.plumbline.marks.baseline)

    def shown_again(self) -> None:
        """Read what is new, and show the marks, which may have changed elsewhere."""
        self.reload()
        self._show_list()

    def on_resize(self) -> None:
        self.call_after_refresh(self._look_at_detail)

    @on(RunDetailPane.Failed)
    def _detail_failed(self, message: RunDetailPane.Failed) -> None:
        self.status.say(message.sentence, "error")

    @on(RunTable.Opened)
    def action_open(self) -> None:
        """Open the run under the cursor; fold or unfold the group under it."""
        heading = self.table.heading
        if heading is not None:
            self.table.action_fold(not heading.folded)
        elif self.selected is not None:
            self.plumbline.open_run(self.selected.id)
        else:
            self.status.say("There is no run under the cursor. n starts one.", "warning")

    @on(RunTable.Fold)
    def _fold(self, message: RunTable.Fold) -> None:
        (self._folded.add if message.folded else self._folded.discard)(message.key)
        self._show_list()

    @on(RunTable.SortBy)
    def _sort_by_title(self, message: RunTable.SortBy) -> None:
        from tui.widgets.run_columns import sort_of

        key = sort_of(message.column)
        if key is not None:
            self.sort_by(key if key in ("id", "name", "kind", "state") else f"-{key}")

    def action_filter(self) -> None:
        """Ask for a filter."""
        self._filter.open()
        self._know()
        if self.overview is not None and self.overview.specs is None:
            self._ask_at_once()

    @on(FilterLine.Changed)
    def _filter_live(self, message: FilterLine.Changed) -> None:
        self.look(self.view.changed(filter=message.text))

    @on(FilterLine.Done)
    def _filter_done(self) -> None:
        self.table.focus()

    def action_back_out(self) -> None:
        """Leave the filter or the details; then give up the range, the filter, the marks, one at a time."""
        if self._filter.typed_in or not self.table.has_focus:
            if self._filter.typed_in:
                self._filter.put("")
            self.remove_class("-detail")
            self.table.focus()
        elif self.table.end_range():
            self.plumbline.say("No range any more.")
        elif self.view.filter:
            self._filter.put("")
        elif self.marked:
            self.plumbline.marks.clear()
            self.tell_marks()

    def action_pane(self) -> None:
        """Go to the other pane; where there is room for one, show it."""
        if self.table.has_focus or self._filter.typed_in:
            self.add_class("-detail")
            self._look_at_detail()
            self._detail.focus()
        else:
            self.remove_class("-detail")
            self.table.focus()

    def action_archived(self) -> None:
        """Show archived runs too, or hide them."""
        self.show_archived = not self.show_archived
        self._ask_at_once()


def _subtitle(view: View) -> str:
    """Return what is not as usual about a view."""
    from engine.store.ordering import NEWEST_FIRST
    from tui.widgets.run_signs import levels_text

    arrows = {True: "↓", False: "↑"}
    parts = [f"view {view.name}"] if view.name else []
    parts += [f"by {levels_text(view)}"] if view.levels else []
    key = view.sort.removeprefix("-").removeprefix("last.").removeprefix("spec.")
    parts += [f"{key} {arrows[view.sort.startswith('-')]}"] if view.sort != NEWEST_FIRST else []
    return "  ".join(parts)
