"""The Index screen: the index builds, what each holds, and a question to one or two of them, side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, Static
from textual.worker import Worker

from engine.errors import PlumblineError
from tui.actions import table
from tui.canvas.charset import current
from tui.engine_process import EngineFailed
from tui.index.asking import Asker, Query
from tui.index.detail import detail_text
from tui.index.facts import IndexFacts, IndexReader
from tui.index.passage_text import Lane, lane_lines
from tui.index.rows import COLUMNS, rows
from tui.pace import Pace
from tui.screens.following import FollowingScreen
from tui.standing import counts, dispatcher_standing
from tui.text.changes import entitle, tell
from tui.text.keys import with_keys
from tui.text.safe import visible
from tui.widgets.detail_pane import DetailPane
from tui.widgets.key_bar import KeyBar
from tui.widgets.row_table import RowTable
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import TopLine

if TYPE_CHECKING:
    from engine.store.experiment import Experiment

_EMPTY = """\
No indexes yet.

1  then  n  starts a build from a recipe

or in a shell:  engine new rag -o index.yaml
                engine launch index.yaml"""
_NOT_ASKED = "Nothing was asked yet.  / asks the index under the cursor; space marks two, to be asked side by side."
_MODES = ("auto", "dense", "lexical", "hybrid")
_LANES = 2
_PATIENCE = 0.3  # seconds without a key before a question is asked again in another way


class IndexScreen(FollowingScreen):
    """Retrieval indexes."""

    CSS_PATH = "index.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("index"))
    AUTO_FOCUS = "#indexes"

    class Loaded(Message):
        """The builds were read, in a thread. seconds: of CPU that it took."""

        def __init__(self, facts: Sequence[IndexFacts], seconds: float) -> None:
            super().__init__()
            self.facts, self.seconds = facts, seconds

    def __init__(self) -> None:
        super().__init__()
        self.facts: Sequence[IndexFacts] | None = None
        self.question = ""
        self.mode = _MODES[0]
        self.number = 5  # passages
        self.model: str | None = None  # an experiment, or a folder
        self._reader: IndexReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._asker: Asker | None = None
        self._asking: Worker[None] | None = None
        self._lanes: dict[str, Lane] = {}  # by the id of the index, in the order in which they are shown
        self._told = Content()
        self._lines = 0  # builds in the list
        self._top = TopLine("Index")
        self._table = RowTable(COLUMNS, id="indexes")
        self._empty = Static("reading…", id="empty", markup=False)
        self._list_pane = Vertical(self._table, self._empty, id="list", classes="box")
        self._line = Input(placeholder="a question", id="question", compact=True)
        self._how = Static(id="how", markup=False)
        self._stories = tuple(Story(empty=_NOT_ASKED, id=f"lane-{number}") for number in range(_LANES))
        self._story = Static(id="story", markup=False)
        self._detail_pane = DetailPane(self._story, id="detail", classes="box")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield self._list_pane
                with Horizontal(id="question-line"):
                    yield Static("/", id="sign", markup=False)
                    yield self._line
                    yield self._how
                with Horizontal(id="lanes"):
                    for story in self._stories:
                        story.add_class("box")
                        yield story
            yield self._detail_pane
        yield self.status
        yield self._keys

    @property
    def selected(self) -> Experiment | None:
        """The build that actions act on."""
        facts = self._facts_of(self._table.selected)
        return None if facts is None else facts.experiment

    def _facts_of(self, identity: str | None) -> IndexFacts | None:
        return next((one for one in self.facts or () if one.experiment.id == identity), None)

    def on_mount(self) -> None:
        self._stories[1].display = False
        self.set_interval(1.0, self._tick)
        self._tell()
        self._show_lanes()

    async def on_screen_suspend(self) -> None:
        if not self.app.screen.is_modal:
            self._give_up()
            await self.on_unmount()

    async def on_unmount(self) -> None:
        if self._asker is not None:
            await self._asker.close()

    def reload(self) -> None:
        """Read what is new."""
        if self.plumbline.store_is_open:
            self._pace.ask()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._reader = IndexReader(self.plumbline.store)
        self._read(self._reader)

    @work(thread=True, group="indexes")
    def _read(self, reader: IndexReader) -> None:
        began = time.thread_time()
        try:
            self.post_message(self.Loaded(reader.read(), time.thread_time() - began))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if self.comes_too_late(message.seconds):
            return
        self.facts = message.facts
        self._show_rows()
        self._tell()
        self._show_detail()
        if self.focused is None and self.facts:
            self._table.focus()
        self._pace.done(message.seconds)

    def _show_rows(self) -> None:
        facts = self.facts or ()
        self._table.show(rows(facts, self.plumbline.marks.letter, time.time()))
        if len(facts) != self._lines:  # setting it lays the screen out anew
            self._lines = len(facts)
            self._list_pane.styles.height = len(facts) + 3 if facts else None

    def _tell(self) -> None:
        """Say how things stand: titles, top line, status line, keys."""
        facts = self.facts or ()
        self.set_class(not facts, "-nothing")
        if not facts and (self.facts is not None or not self.plumbline.database.exists()):
            tell(self._empty, with_keys(_EMPTY))
        plural = "" if len(facts) == 1 else "es"
        entitle(self._list_pane, f"{len(facts)} index{plural}" if facts else "indexes")
        experiments = [one.experiment for one in facts]
        self._top.show(counts(experiments))
        live = any(not experiment.state.ended for experiment in experiments)
        self.status.facts(dispatcher_standing(self.plumbline, needed=live))
        separator = f" {current().separator} "
        model = [] if self.model is None else [f"model {visible(self.model)}"]
        passages = f"{self.number} passage{'s' if self.number > 1 else ''}"
        tell(self._how, separator.join([f"mode {self.mode}", passages, *model]))
        self._keys.tell()

    def _tick(self) -> None:
        if self.is_current:
            self._show_rows()
            if any(lane.asking for lane in self._lanes.values()):
                self._show_lanes()

    @on(RowTable.Moved)
    def _moved(self) -> None:
        self._detail_pane.scroll_home(animate=False)
        self._show_detail()
        self._keys.tell()

    @on(DetailPane.Resized)
    def _show_detail(self) -> None:
        facts = self._facts_of(self._table.selected)
        if facts is None or not self._detail_pane.display:
            return
        entitle(self._detail_pane, facts.experiment.id)
        text = detail_text(facts, self._detail_pane.scrollable_content_region.width)
        if text != self._told:
            self._told = text
            self._story.update(text)

    # ---- a question

    def action_ask(self) -> None:
        """Let a question be typed."""
        self.remove_class("-detail")
        self._line.focus()

    @on(Input.Submitted, "#question")
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.question = " ".join(event.value.split())
        if self.question:
            self._begin()
            if self._lanes:
                self._stories[0].focus()

    def action_answer(self) -> None:
        """Have a model answer the question, with passages and without."""
        if not self.question:
            self.status.say("Nothing was asked yet: / asks a question, w then lets a model answer it.", "warning")
        elif self.model is None:
            self.action_choose_model()
        else:
            self._begin(self.model)

    def _begin(self, model: str | None = None, *, patience: float = 0.0) -> None:
        """Ask the marked indexes, or that under the cursor, after `patience` seconds. model: that is to answer too."""
        targets = self._targets()
        missing = next((one for one in targets if one.path is None), None)
        if missing is not None:
            self.status.say(f"{missing.experiment.id} has made no index yet.", "warning")
            return
        if not targets:
            self.status.say("There is no index to ask.", "warning")
            return
        self._give_up()
        now = time.monotonic()
        self._lanes = {one.experiment.id: Lane(asking="asking", since=now) for one in targets}
        self._show_lanes()
        self._asking = self._ask(model, patience)

    def _targets(self) -> list[IndexFacts]:
        marked = [one for one in map(self._facts_of, self.plumbline.marks.chosen()) if one is not None]
        under_cursor = self._facts_of(self._table.selected)
        return marked[:_LANES] if marked else [under_cursor] if under_cursor else []

    @work(exclusive=True, group="asking")
    async def _ask(self, model: str | None, patience: float) -> None:
        await asyncio.sleep(patience)
        question, queries = self.question, {one: Query(one, self.mode, self.number) for one in self._lanes}
        await asyncio.gather(*(self._find(query, question, last=model is None) for query in queries.values()))
        for identity, query in queries.items():
            if model is not None and self._lanes[identity].problem is None:
                await self._answer(query, question, model)

    async def _find(self, query: Query, question: str, *, last: bool) -> None:
        try:
            found = await self._asks().passages(query, question)
        except EngineFailed as error:
            self._set(query.index, problem=str(error), asking="")
        else:
            self._set(query.index, found=found, asking="" if last else "waiting for the model")

    async def _answer(self, query: Query, question: str, model: str) -> None:
        self._set(query.index, asking=f"{visible(model)} answers", since=time.monotonic())
        try:
            answered = await self._asks().answer(query, question, model)
        except EngineFailed as error:
            self._set(query.index, problem=str(error), asking="")
        else:
            self._set(query.index, answered=answered, asking="")

    def _asks(self) -> Asker:
        if self._asker is None:
            self._asker = Asker(self.plumbline.database)
        return self._asker

    def _set(self, identity: str, **change: object) -> None:
        self._lanes[identity] = replace(self._lanes[identity], **change)  # type: ignore[arg-type]
        self._show_lanes()

    def _give_up(self) -> bool:
        """Stop asking; returns whether anything was being asked."""
        asking = [identity for identity, lane in self._lanes.items() if lane.asking]
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        for identity in asking:
            nothing = self._lanes[identity].found is None
            self._set(identity, asking="", problem="Given up before there was an answer." if nothing else None)
        return bool(asking)

    def _show_lanes(self) -> None:
        shown = list(self._lanes.items())
        self._stories[1].display = len(shown) > 1
        self.set_class(len(shown) > 1, "-two")
        for story, (identity, lane) in zip(self._stories, shown, strict=False):
            story.border_title = self._title(identity)
            story.border_subtitle = "" if lane.found is None else f"{1000 * float(lane.found['seconds']):.0f} ms"
            story.show(lane_lines(lane, time.monotonic()))
        if not shown:
            self._stories[0].border_title, self._stories[0].border_subtitle = "passages", ""

    def _title(self, identity: str) -> str:
        facts, letter = self._facts_of(identity), self.plumbline.marks.letter(identity)
        name = visible(facts.experiment.name) if facts is not None else identity
        parts = [identity] if name == identity else [identity, name]
        return " ".join([*([letter] if letter and len(self._lanes) > 1 else []), "  ".join(parts)])

    def action_next_mode(self) -> None:
        """Search in the next mode, and ask again."""
        self.mode = _MODES[(_MODES.index(self.mode) + 1) % len(_MODES)]
        self._ask_again()

    def action_passages(self, by: int) -> None:
        """Ask for more or fewer passages, and ask again."""
        self.number = min(max(self.number + by, 1), 50)
        self._ask_again()

    def _ask_again(self) -> None:
        self._tell()
        if self.question and self._lanes:
            self._begin(patience=_PATIENCE)

    @work
    async def action_choose_model(self) -> None:
        """Choose the model that answers; where a question was asked, it answers at once."""
        from tui.screens.choose_model import choose_model

        chosen = await choose_model(self.plumbline, self.model)
        if chosen is not None:
            self.model = chosen
            self._tell()
            if self.question:
                self._begin(chosen)

    # ---- moving about

    @on(RowTable.Opened)
    def action_open(self) -> None:
        """Open the Run screen of the build under the cursor."""
        if self.selected is not None:
            self.plumbline.open_run(self.selected.id)

    def action_mark(self) -> None:
        """Mark the build, or take its mark away; the cursor goes on."""
        if self.selected is not None:
            self.plumbline.marks.toggle(self.selected.id)
            self._table.action_move(1)
            self._show_rows()
            self._show_lanes()

    def action_pane(self) -> None:
        """Go to the next pane; where there is room for one, show it."""
        panes: list[Widget] = [self._table, *(story for story in self._stories if story.display), self._detail_pane]
        here = next((place for place, pane in enumerate(panes) if pane.has_focus), 0)
        chosen = panes[(here + 1) % len(panes)]
        self.set_class(chosen is self._detail_pane, "-detail")
        self.call_after_refresh(self._show_detail)
        self.call_after_refresh(chosen.focus)

    def action_back(self) -> None:
        """Give up asking; from another pane go back to the list, from there to the runs."""
        if self._give_up():
            return
        if self._table.has_focus:
            self.plumbline.action_go("runs")
        else:
            self.remove_class("-detail")
            self._table.focus()
