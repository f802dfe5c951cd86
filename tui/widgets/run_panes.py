"""What stands below the charts of a run: its log, samples, events, spec or lineage, one at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Input

from tui.run.events import events_lines
from tui.run.facts import RunFacts
from tui.run.samples import samples_lines
from tui.run.spec_text import spec_lines
from tui.screens.menu import Choice
from tui.widgets.family import Family, family_entries
from tui.widgets.log_view import LogView
from tui.widgets.pane_bar import PaneBar
from tui.widgets.story import Story

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = ("log", "samples", "events", "spec", "lineage")
READ_FOR = ("samples", "spec", "lineage")  # what is only read while it is shown


class RunPanes(Vertical):
    """A bar of tabs, and the text that was chosen."""

    class Wanted(Message):
        """A pane was chosen that has to be read."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts: RunFacts | None = None
        self._log_chosen = False
        self.bar = PaneBar(NAMES)
        self.log_view = LogView(id="log", time_of_step=self._time_of_step)
        self._samples = Story(empty="No samples yet: the model writes some at each evaluation.", id="samples")
        self._events = Story(empty="No events yet.", id="events")
        self._spec = Story(empty="Reading the spec …", id="spec")
        self._lineage = Family(id="lineage")
        panes = (self.log_view, self._samples, self._events, self._spec, self._lineage)
        self._switcher = ContentSwitcher(*panes, initial="log")
        self._search = Input(placeholder="search the log", id="search", compact=True)

    def compose(self) -> ComposeResult:
        yield self.bar
        yield self._switcher
        yield self._search

    def on_mount(self) -> None:
        self._search.can_focus = False

    @property
    def chosen(self) -> str:
        """The name of the pane that is shown."""
        return str(self._switcher.current)

    @property
    def logs(self) -> Sequence[Path]:
        """The logs there are."""
        return self._facts.logs if self._facts else ()

    @property
    def searching(self) -> bool:
        """Whether a search is being typed."""
        return self._search.has_class("-shown")

    def show(self, facts: RunFacts) -> None:
        """Show what is known now."""
        self._facts = facts
        if self.chosen == "events":
            self._events.show(events_lines(facts.events, facts.verdicts))
        elif self.chosen == "samples":
            self._samples.show(samples_lines(facts.samples, facts.experiment.kind))
        elif self.chosen == "spec" and facts.spec is not None:
            self._spec.show(spec_lines(facts.spec))
        elif self.chosen == "lineage" and facts.family is not None:
            self._lineage.show(family_entries(facts.experiment, facts.family))
        self.log_view.await_one(not facts.experiment.state.ended)
        if facts.logs and not (self._log_chosen and self.log_view.path in facts.logs):
            self.log_view.open(facts.logs[0])
        self.tell()

    def clear(self) -> None:
        """Forget the run; the chosen pane stays."""
        self._facts, self._log_chosen = None, False
        self.log_view.open(None)
        for story in (self._samples, self._events, self._spec):
            story.show(())
        self._lineage.show(())

    def start_over(self) -> None:
        """Show the log, and that as it is shown at first."""
        self._search.remove_class("-shown")
        self._search.can_focus = False
        self._search.value = ""
        self.log_view.start_over()
        self._switcher.current = "log"
        self.tell()

    def choose(self, name: str) -> None:
        """Show a pane and give it the focus."""
        self._switcher.current = name
        if self._facts is not None:
            self.show(self._facts)
        if name in READ_FOR:
            self.post_message(self.Wanted())
        self.tell()
        cast("Widget", self._switcher.visible_content).focus()

    def tell(self) -> None:
        """Say at the right end of the bar what the log on show is."""
        log, facts = self.log_view, self._facts
        notes: tuple[str, ...] = ()
        if self.chosen == "log" and log.path is not None and facts is not None:
            warn = f"{len(facts.counted)} of {self._ranks(facts)} logs warn" if facts.counted else ""
            others = ("r other ranks",) if len(facts.logs) > 1 else ()
            notes = (*others, *((warn,) if warn else ()), *facts.log_name(log.path), *log.notes)
        self.bar.show(self.chosen, notes)

    def log_choices(self) -> list[Choice]:
        """Return the logs to choose from, each with what it warns of."""
        facts = self._facts
        if facts is None:
            return []
        return [
            Choice(str(path), " ".join(facts.log_name(path)), note=note, current=path == self.log_view.path)
            for path in facts.logs
            for note in (str(facts.counted.get(path, "")),)
        ]

    def next_log(self) -> Path:
        """Return the log after the one on show; after the last one the first. There must be one."""
        at = self.logs.index(self.log_view.path) if self.log_view.path in self.logs else -1
        return self.logs[(at + 1) % len(self.logs)]

    def open_log(self, path: Path) -> None:
        """Show the log of another rank."""
        self._log_chosen = True
        self.log_view.open(path)

    def begin_search(self) -> None:
        """Ask what to look for in the log."""
        self._search.can_focus = True
        self._search.add_class("-shown")
        self._search.focus()

    def end_search(self, text: str) -> None:
        """Look at what was found; an empty text ends the search."""
        self._search.remove_class("-shown")
        self._search.can_focus = False
        if not text:
            self._search.value = ""
            self.log_view.search("")
        self.log_view.focus()
        self.tell()

    @on(Input.Changed, "#search")
    def _search_live(self, event: Input.Changed) -> None:
        self.log_view.search(event.value)

    @on(Input.Submitted, "#search")
    def _search_done(self, event: Input.Submitted) -> None:
        self.end_search(event.value)

    @on(LogView.Changed)
    def _log_changed(self) -> None:
        self.tell()

    def _ranks(self, facts: RunFacts) -> int:
        """Return how many logs the newest attempt has."""
        return sum(path.parent.parent == facts.logs[0].parent.parent for path in facts.logs)

    def _time_of_step(self, step: int) -> float | None:
        """Return when a step was logged, as far as it is known, in seconds since the epoch."""
        series = self._facts.curves.series if self._facts is not None else {}
        longest = max(series.values(), key=lambda curve: curve.count, default=None)
        return None if longest is None else longest.time_of(step)
