"""The Cluster screen: nodes and their slots, bound to runs and ranks; a preflight, and draining a node."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Static
from textual.worker import Worker

from engine.errors import PlumblineError
from tui.actions import table
from tui.canvas.charset import current
from tui.cluster.detail import check_lines, detail_text, legend
from tui.cluster.facts import ALL, ClusterFacts, ClusterReader, HostChoice, waiting
from tui.cluster.slot_cells import grid, letters, silent_seconds
from tui.engine_process import EngineFailed, document
from tui.pace import Pace
from tui.screens.following import FollowingScreen
from tui.standing import dispatcher_standing
from tui.text.changes import entitle, tell
from tui.text.keys import with_keys
from tui.text.pane import plain
from tui.text.safe import visible
from tui.widgets.detail_pane import DetailPane
from tui.widgets.key_bar import KeyBar
from tui.widgets.slot_grid import SlotGrid
from tui.widgets.status_line import StatusLine
from tui.widgets.story import Story
from tui.widgets.top_line import Part, TopLine

if TYPE_CHECKING:
    from engine.dispatch.slot_map import NodeSlots, Slot
    from engine.store.experiment import Experiment

_EMPTY = """\
No nodes yet.

h  chooses a hostfile
   a run on a cluster brings its own

or in a shell:  engine cluster status --hostfile H"""


class ClusterScreen(FollowingScreen):
    """The nodes."""

    CSS_PATH = "cluster.tcss"
    BINDINGS: ClassVar[list[BindingType]] = list(table.bindings("cluster"))
    AUTO_FOCUS = "#grid"

    class Loaded(Message):
        """The nodes were read, in a thread. seconds: of CPU that it took."""

        def __init__(self, facts: ClusterFacts, seconds: float) -> None:
            super().__init__()
            self.facts, self.seconds = facts, seconds

    def __init__(self) -> None:
        super().__init__()
        self.facts: ClusterFacts | None = None
        self.choice: HostChoice | None = None  # null: what suits
        self._reader: ClusterReader | None = None
        self._pace = Pace(self, self._begin_read)
        self._checking: Worker[None] | None = None
        self._check_began = 0.0
        self._told = Content()
        self._top = TopLine("Cluster")
        self._grid = SlotGrid(id="grid")
        self._legend = Static(id="legend", markup=False)
        self._empty = Static("reading…", id="empty", markup=False)
        self._check = Story(empty="…", id="check")
        self._check.add_class("box")
        self._story = Static(id="story", markup=False)
        self._detail_pane = DetailPane(self._story, id="detail", classes="box")
        self._grid_pane = Vertical(self._grid, self._legend, self._empty, id="nodes", classes="box")
        self.status = StatusLine(id="status")
        self._keys = KeyBar()

    def compose(self) -> ComposeResult:
        yield self._top
        with Horizontal(id="panes"):
            with Vertical(id="left"):
                yield self._grid_pane
                yield self._check
            yield self._detail_pane
        yield self.status
        yield self._keys

    @property
    def node(self) -> NodeSlots | None:
        """The node under the cursor."""
        place, _ = self._grid.cursor
        nodes = self.facts.slot_map.nodes if self.facts else ()
        return nodes[place] if place < len(nodes) else None

    @property
    def slot(self) -> Slot | None:
        """The slot under the cursor."""
        node, (_, number) = self.node, self._grid.cursor
        return node.slots[number] if node is not None and number < len(node.slots) else None

    @property
    def selected(self) -> Experiment | None:
        """The run that has the slot under the cursor: that actions act on."""
        slot = self.slot
        if slot is None or slot.seating is None or self.facts is None:
            return None
        identity = slot.seating.experiment_id
        return next((run for run in self.facts.slot_map.runs if run.id == identity), None)

    def on_mount(self) -> None:
        self._grid_pane.border_title = "nodes"
        self._check.display = False
        self.set_interval(1.0, self._tick)

    def on_screen_suspend(self) -> None:
        if not self.app.screen.is_modal:
            self._give_up()

    def reload(self) -> None:
        """Read what is new."""
        if self.plumbline.store_is_open:
            self._pace.ask()
        else:
            self._tell()

    def _begin_read(self) -> None:
        if self._reader is None:
            self._reader = ClusterReader(self.plumbline.store, self.plumbline.hostfiles)
        node = self.node
        self._read(self._reader, self.choice, "" if node is None else node.key)

    @work(thread=True, group="nodes")
    def _read(self, reader: ClusterReader, choice: HostChoice | None, key: str) -> None:
        began = time.thread_time()
        try:
            self.post_message(self.Loaded(reader.read(choice, key), time.thread_time() - began))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        if self.comes_too_late(message.seconds):
            return
        first = self.facts is None
        self.facts = message.facts
        self._show()
        if self.focused is None and message.facts.slot_map.nodes:
            self._grid.focus()
        self._pace.done(message.seconds)
        if first and self.node is not None:
            self._pace.ask(at_once=True)  # the history of the node that is now under the cursor

    def _show(self) -> None:
        facts, now = self.facts, time.time()
        if facts is not None:
            names = letters(facts.slot_map, self.plumbline.marks.letter)
            self._grid.show(grid(facts.slot_map, names, now))
            tell(self._legend, legend(facts, names, max(20, self._grid_pane.size.width - 4)))
        self._tell()
        self._show_detail()

    def _tell(self) -> None:
        """Say how things stand: titles, top line, status line, keys."""
        facts = self.facts
        nodes = facts.slot_map.nodes if facts else ()
        self.set_class(not nodes, "-nothing")
        if facts is not None and not nodes:
            told = _EMPTY if facts.problem is None else f"{visible(facts.problem)}\n\nh  chooses another"
            tell(self._empty, with_keys(told))
        elif facts is None and not self.plumbline.database.exists():
            tell(self._empty, with_keys(_EMPTY))
        slots = [slot for node in nodes for slot in node.slots]
        busy = sum(slot.seating is not None or slot.foreign is not None for slot in slots)
        plural = "" if len(nodes) == 1 else "s"
        told = f"{len(nodes)} node{plural}, {busy} of {len(slots)} slots busy"
        entitle(self._grid_pane, told, "" if facts is None else visible(facts.choice.title))
        self._top.show(list(self._parts(nodes)))
        live = facts.live if facts else ()
        dispatcher = dispatcher_standing(self.plumbline, needed=bool(live))
        queued = waiting(live)
        wait = f"  {current().separator}  {queued} wait for slots: 4 says why" if queued else ""
        self.status.facts(Content.assemble(dispatcher, wait))
        self._keys.tell()

    def _parts(self, nodes: Sequence[NodeSlots]) -> Iterator[Part]:
        now = time.time()
        slow = sum(
            slot.seating is not None and slot.seating.straggles is not None for node in nodes for slot in node.slots
        )
        silent = sum(silent_seconds(node, now) is not None for node in nodes)
        drained = sum(node.drained for node in nodes)
        for ink, number, word in (
            ("error", silent, "silent"),
            ("warning", slow, "slow"),
            ("warning", drained, "drained"),
        ):
            if number:
                yield ink, f"{number} {word}", f"{number} {word}"

    def _tick(self) -> None:
        if self.is_current:
            self._show()
            if self._checking is not None:
                seconds = time.monotonic() - self._check_began
                self._check.show([plain(f"looking at the nodes… {seconds:.0f} s   esc gives up", "$warning")])

    @on(SlotGrid.Moved)
    def _moved(self) -> None:
        self._detail_pane.scroll_home(animate=False)
        self._show_detail()
        self._keys.tell()
        node = self.node
        if node is not None and self.facts is not None and node.key != self.facts.history[0]:
            self._pace.ask(at_once=True)

    @on(DetailPane.Resized)
    def _show_detail(self) -> None:
        node, slot = self.node, self.slot
        if self.facts is None or node is None or not self._detail_pane.display:
            return
        entitle(self._detail_pane, visible(node.host) + ("" if slot is None else f" : {slot.number}"))
        width = self._detail_pane.scrollable_content_region.width
        text = detail_text(self.facts, node, slot, time.time(), width)
        if text != self._told:
            self._told = text
            self._story.update(text)

    # ---- what one does here

    @on(SlotGrid.Opened)
    def action_open(self) -> None:
        """Open the run that has the slot under the cursor."""
        if self.selected is not None:
            self.plumbline.open_run(self.selected.id)

    @work
    async def action_choose_hosts(self) -> None:
        """Choose which nodes are shown."""
        from tui.screens.menu import Choice, MenuScreen

        choices = await self._choices()
        shown = self.facts.choice.id if self.facts else ALL
        lines = [Choice(one.id, one.title, note=one.note, current=one.id == shown) for one in choices]
        chosen = await self.app.push_screen_wait(MenuScreen("which nodes", lines))
        if chosen is not None:
            self.choice = next(one for one in choices if one.id == chosen)
            self._grid.go_home()
            self._pace.ask(at_once=True)

    async def _choices(self) -> list[HostChoice]:
        reader = self._reader or ClusterReader(self.plumbline.store, self.plumbline.hostfiles)
        return await asyncio.to_thread(reader.choices)

    async def _hostfile(self) -> HostChoice | None:
        """Return the one hostfile that is shown; null where several are, or none."""
        if self.facts is None:
            return None
        if self.facts.choice.id != ALL:
            return self.facts.choice
        keys = {run.hostfile or "here" for run in self.facts.live}
        return next((one for one in await self._choices() if keys == {one.id}), None)

    @work
    async def action_check(self) -> None:
        """Look whether runs can start on the nodes that are shown."""
        hosts = await self._hostfile()
        if hosts is None:
            self.status.say("These nodes are of several hostfiles, or of none: h chooses one to look at.", "warning")
            return
        self._give_up()
        self._check.display = True
        self._check.border_title = f"preflight of {visible(hosts.title)}"
        self._check_began = time.monotonic()
        self._checking = self._look(hosts)
        self._tick()
        self._check.focus()

    @work(exclusive=True, group="preflight")
    async def _look(self, hosts: HostChoice) -> None:
        try:
            with hosts.as_file() as path:
                found = await document(["cluster", "check", "--json", "--hostfile", str(path)])
        except EngineFailed as error:
            lines = [plain(str(error), "$error")]
        else:
            failures, warnings = found["failures"], found["warnings"]
            told = f"{failures} failed, {warnings} warned" if failures or warnings else "all nodes are ready"
            self._check.border_subtitle = f"{told} {current().separator} {found['seconds']:.1f} s"
            lines = check_lines(found)
        self._checking = None
        self._check.show(lines)

    def _give_up(self) -> bool:
        """Stop looking; returns whether anything was being looked at."""
        self._check.border_subtitle = ""
        if self._checking is None:
            return False
        self._checking.cancel()
        self._checking = None
        self._check.show([plain("Given up before there was an answer.")])
        return True

    @work
    async def action_drain(self) -> None:
        """Drain the node under the cursor, or let runs begin there again, when that is confirmed."""
        from tui.screens.confirm import ConfirmScreen

        node = self.node
        if node is None:
            self.status.say("There is no node under the cursor: h chooses a hostfile.", "warning")
            return
        hosts = await self._hostfile()
        verb = "Undrain" if node.drained else "Drain"
        if node.drained:
            cost = "Runs that wait may begin there at once."
        elif node.runs:
            cost = f"Nothing new begins there. {' and '.join(node.runs)} {'go' if len(node.runs) > 1 else 'goes'} on."
        else:
            cost = "Nothing new begins there until it is undrained. Nothing runs there now."
        words = ["engine", "cluster", verb.lower(), node.host]
        words += ["--hostfile", str(hosts.path)] if hosts is not None and hosts.path is not None else []
        words += ["--db", self.plumbline.named_database] if self.plumbline.named_database else []
        screen = ConfirmScreen(f"{verb} node {visible(node.host)}?", verb=verb, cost=cost, command=shlex.join(words))
        if not await self.app.push_screen_wait(screen):
            return
        drained = not node.drained
        app = self.plumbline
        try:
            await asyncio.to_thread(app.intents.drain, app.store, node.key, node.host, drained=drained)
        except PlumblineError as error:
            self.status.say(str(error), "error")
            return
        done = "is drained: nothing new begins there" if drained else "is not drained: runs begin there"
        self.status.say(f"{node.host} {done}.")
        self._pace.ask(at_once=True)

    def action_pane(self) -> None:
        """Go to the next pane; where there is room for one, show it."""
        panes: list[Widget] = [self._grid, *([self._check] if self._check.display else []), self._detail_pane]
        here = next((place for place, pane in enumerate(panes) if pane.has_focus), 0)
        chosen = panes[(here + 1) % len(panes)]
        self.set_class(chosen is self._detail_pane, "-detail")
        self.call_after_refresh(self._show_detail)
        self.call_after_refresh(chosen.focus)

    def action_back(self) -> None:
        """Give up the preflight, close it, go back to the grid, then to the runs."""
        if self._give_up():
            return
        if self._check.display and not self.has_class("-detail"):
            self._check.display = False
            self._grid.focus()
        elif self._grid.has_focus:
            self.plumbline.action_go("runs")
        else:
            self.remove_class("-detail")
            self._grid.focus()
