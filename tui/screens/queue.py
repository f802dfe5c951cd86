"""The queue: what runs, what waits and why each waits, the stages of pipelines, and which nodes are free."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Static

from engine.errors import PlumblineError
from tui.actions import table
from tui.pace import Pace
from tui.queue.rows import COLUMNS, rows
from tui.screens.following import FollowingScreen
from tui.standing import counts, standing
from tui.text.changes import entitle, tell
from tui.text.keys import with_keys
from tui.text.safe import visible
from tui.widgets.key_bar import KeyBar
from tui.widgets.row_table import RowTable
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.dispatch.survey import Survey, SurveyReader
    from engine.store.experiment import Experiment

_EMPTY = """\
Nothing runs and nothing waits.

n  starts a run, or a pipeline
1  shows what has run

or in a shell:  engine launch recipes/facts/pipeline.yaml"""


class QueueScreen(FollowingScreen):
    """Reads in threads; what is shown is as old as the last change of the database."""

    CSS_PATH = "queue.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("queue"))
    AUTO_FOCUS = "#queue"

    class Loaded(Message):
        """The queue was read, in a thread."""

        def __init__(self, survey: Survey, seconds: float) -> None:
            super().__init__()
            self.survey, self.seconds = survey, seconds

    def __init__(self) -> None:
        super().__init__()
        self.survey: Survey | None = None
        self._experiments: dict[str, Experiment] = {}
        self._reader: SurveyReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._top = TopLine("Queue")
        self._table = RowTable(COLUMNS, id="queue")
        self._empty = Static("reading…", id="empty", markup=False)
        self._list_pane = Vertical(self._table, self._empty, id="list")
        self._detail = Story(empty="", id="detail")
        self._node_list = Story(empty="No node is known yet.", id="nodes")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        with Vertical(id="panes"):
            yield self._list_pane
            with Horizontal(id="aside"):
                yield self._detail
                yield self._node_list
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The experiment that actions act on; null on the heading of a pipeline."""
        return self._experiments.get(self._table.selected or "")

    def on_mount(self) -> None:
        self._list_pane.border_title = "queue"
        self._node_list.border_title = "nodes"
        self.set_interval(1.0, self._tick)
        self.set_class(True, "-nothing")
        if not self.plumbline.store_is_open:
            self._empty.update(with_keys(_EMPTY))

    def reload(self) -> None:
        """Read what is new."""
        if self.plumbline.store_is_open:
            self._pace.ask()

    def _begin_read(self) -> None:
        self._read()

    @work(thread=True, group="queue")
    def _read(self) -> None:
        from engine.dispatch.survey import SurveyReader

        began = time.thread_time()
        if self._reader is None:
            self._reader = SurveyReader(self.plumbline.store)
        try:
            self.post_message(self.Loaded(self._reader.read(), time.thread_time() - began))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _show(self, message: Loaded) -> None:
        from tui.queue.text import nodes_lines, nodes_title

        if self.comes_too_late(message.seconds):
            return
        self.survey = survey = message.survey
        unfinished = [one.experiment for one in survey.running] + [each.experiment for each in survey.waiting]
        stages = [stage.experiment for each in survey.launches.values() for stage in each]
        self._experiments = {each.id: each for each in (*unfinished, *stages)}
        self._table.show(rows(survey))
        self.set_class(not unfinished, "-nothing")
        tell(self._empty, with_keys(_EMPTY))
        entitle(self._list_pane, f"{len(survey.running)} run, {len(survey.waiting)} wait")
        entitle(self._node_list, nodes_title(survey.machines))
        self._node_list.show(nodes_lines(survey))
        self._top.show(counts(unfinished))
        self._tell()
        self._tell_standing()
        self._pace.done(message.seconds)

    @on(RowTable.Moved)
    def _tell(self) -> None:
        """Say what is known of the run under the cursor."""
        from tui.queue.text import detail_lines, launch_lines

        experiment = self.selected
        if self.survey is not None and experiment is not None:
            entitle(self._detail, experiment.id)
            self._detail.show(detail_lines(self.survey, experiment))
        else:
            launch = self._table.selected or ""
            entitle(self._detail, visible(launch))
            self._detail.show([] if self.survey is None else launch_lines(self.survey, launch))
        self._keys.tell()

    def _tick(self) -> None:
        if self.is_current:
            self._tell_standing()

    def _tell_standing(self) -> None:
        live = [each for each in self._experiments.values() if not each.state.ended]
        self.status.facts(standing(live, self.plumbline, time.time()))

    @on(RowTable.Opened)
    def action_open(self) -> None:
        """Open the run under the cursor."""
        if self.selected is not None:
            self.plumbline.open_run(self.selected.id)

    @work
    async def action_prioritise(self, by: int) -> None:
        """Let the run under the cursor come earlier, or later."""
        experiment, app = self.selected, self.plumbline
        if experiment is None:
            return
        priority = experiment.priority + by
        try:
            await asyncio.to_thread(app.intents.set_priority, app.store, experiment.id, priority)
        except PlumblineError as error:
            self.status.say(str(error), "error")
            return
        earlier = f"it counts as queued {12 * abs(priority)} hours {'earlier' if priority > 0 else 'later'}"
        self.status.say(f"{experiment.id} has priority {priority}{': ' + earlier if priority else ', as usual'}.")
        self._pace.ask(at_once=True)

    def action_pane(self) -> None:
        """Go to the other pane; where there is room for one, show it."""
        if self._table.has_focus:
            self.add_class("-detail")
            (self._detail if self._detail.display else self._node_list).focus()
        else:
            self.action_back()

    def action_back(self) -> None:
        """Go back to the queue."""
        self.remove_class("-detail")
        self._table.focus()
