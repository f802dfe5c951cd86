"""The pane beside the list of runs: what is known of the one under the cursor, with verdicts on its health."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from textual import on, work
from textual.containers import VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from engine.errors import PlumblineError
from tui.pace import Later
from tui.text.changes import entitle, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.store.experiment import Experiment
    from engine.telemetry.health_observed import Verdict
    from tui.app import PlumblineApp
    from tui.run.detail import Detail, DetailReader

_STILL = 0.4  # seconds that the cursor rests on a run before its curves are judged
_JUDGED_EVERY = 10.0  # seconds between two judgements of a run that goes on
_MOST_POINTS = 400_000  # steps times metrics; of more the Run screen judges, which keeps the curves


class RunDetailPane(VerticalScroll):
    """Reads in threads, one read at a time; a read that the cursor has left behind is not shown."""

    class Loaded(Message):
        """One experiment was read, in a thread."""

        def __init__(self, detail: Detail) -> None:
            super().__init__()
            self.detail = detail

    class Judged(Message):
        """The curves of an experiment were read and judged, in a thread."""

        def __init__(self, key: tuple[object, ...], identity: str, verdicts: Sequence[Verdict]) -> None:
            super().__init__()
            self.key, self.identity, self.verdicts = key, identity, verdicts

    class Failed(Message):
        """One experiment could not be read."""

        def __init__(self, sentence: str) -> None:
            super().__init__()
            self.sentence = sentence

    def __init__(self, *, id: str | None = None) -> None:
        self._text = Static(id="story", markup=False)
        super().__init__(self._text, id=id)
        self._wanted: Experiment | None = None
        self._baseline: str | None = None
        self._detail: Detail | None = None
        self._read_for: tuple[Experiment, str | None] | None = None
        self._reading = False
        self._later = Later(self)
        self._reader: DetailReader | None = None
        self._verdicts: dict[str, tuple[tuple[object, ...], float, Sequence[Verdict]]] = {}
        self._judging = False
        self._still: Timer | None = None

    @property
    def plumbline(self) -> PlumblineApp:
        """The app, by its own type."""
        return cast("PlumblineApp", self.app)

    def look_at(self, experiment: Experiment | None, baseline: str | None = None) -> None:
        """Show this experiment, as soon as it is read. baseline: what it is compared with, instead of its parent."""
        moved = (experiment and experiment.id) != (self._wanted and self._wanted.id)
        self._wanted, self._baseline = experiment, baseline
        if moved:
            self.scroll_home(animate=False)
        self._load()
        self.tell()
        if moved or self._still is None:
            if self._still is not None:
                self._still.stop()
            self._still = self.set_timer(_STILL, self._judge)

    def _load(self) -> None:
        wanted = self._wanted
        if wanted is None or self._reading or not self.display or self._read_for == (wanted, self._baseline):
            return
        goes_on = self._read_for is not None and _about(*self._read_for) == _about(wanted, self._baseline)
        if not self._later.is_due() and goes_on:
            return  # it is looked at again within a second
        self._reading, self._read_for = True, (wanted, self._baseline)
        self._read(wanted.id, self._baseline)

    @work(thread=True, group="detail")
    def _read(self, identity: str, baseline: str | None) -> None:
        from tui.run.detail import DetailReader

        if self._reader is None:
            self._reader = DetailReader(self.plumbline.store)
        try:
            self.post_message(self.Loaded(self._reader.read(identity, baseline)))
        except PlumblineError as error:
            self.post_message(self.Failed(str(error)))

    @on(Failed)
    def _failed(self) -> None:
        self._reading = False

    @on(Loaded)
    def _loaded(self, message: Loaded) -> None:
        message.stop()
        self._reading, self._detail = False, message.detail
        self.tell()
        self._load()

    def _judge(self) -> None:
        """Have the curves of the run read, unless they have been since it last moved, or it costs too much."""
        self._still = None
        wanted = self._wanted
        if wanted is None or self._judging or not self.display or not wanted.last:
            return
        key = (wanted.step, wanted.attempts, wanted.state)
        known = self._verdicts.get(wanted.id)
        if known is not None and (known[0] == key or time.monotonic() - known[1] < _JUDGED_EVERY):
            return
        if wanted.step * len(wanted.last) <= _MOST_POINTS:
            self._judging = True
            self._read_verdicts(key, wanted.id)

    @work(thread=True, group="verdicts")
    def _read_verdicts(self, key: tuple[object, ...], identity: str) -> None:
        from engine.store.verdicts import read_verdicts

        try:
            found = read_verdicts(self.plumbline.store, identity, time.time())
        except PlumblineError:
            found = []
        self.post_message(self.Judged(key, identity, found))

    @on(Judged)
    def _judged(self, message: Judged) -> None:
        message.stop()
        self._judging = False
        self._verdicts[message.identity] = message.key, time.monotonic(), message.verdicts
        self.tell()

    def tell(self) -> None:
        """Write the text again, as far as it changed: ages count on."""
        from tui.run.detail import detail_text

        detail, wanted = self._detail, self._wanted
        if detail is None or wanted is None or detail.experiment.id != wanted.id or not self.display:
            return
        entitle(self, wanted.id)
        judged = self._verdicts.get(wanted.id)
        width = self.scrollable_content_region.width
        text = detail_text(detail, time.time(), width, judged[2] if judged is not None else None)
        tell(self._text, text)


def _about(experiment: Experiment, baseline: str | None) -> tuple[object, ...]:
    """Return what does not change while a run merely goes on."""
    one = experiment
    return one.id, one.state, one.desired, one.reason, one.attempts, one.name, one.note, one.tags, baseline
