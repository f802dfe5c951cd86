"""Long texts that one scrolls through, above all the events of a run and the samples that its model wrote."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.telemetry.numbers import short
from engine.telemetry.states import State
from tui.safe_text import visible
from tui.theme import glyph
from tui.wrapping import Line, wrapped

if TYPE_CHECKING:
    from engine.store.events import Event
    from engine.store.samples import Sample

_QUIET = "$foreground 60%"
_LEVELS = {"info": "", "warning": "$warning", "error": "bold $error"}
_MOST_LINES = 4_000  # of one text; what is older, `engine` shows
_LABEL = 12  # cells


class Story(VerticalScroll):
    """Text that is replaced only when it changed; what one reads stays in view when newer text comes above it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "line down", show=False),
        Binding("k", "scroll_up", "line up", show=False),
        Binding("g", "scroll_home", "newest", show=False),
        Binding("G", "scroll_end", "oldest", show=False),
    ]
    DEFAULT_CSS = """
    Story { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; scrollbar-gutter: stable; }
    Story > Static { width: 100%; }
    """

    def __init__(self, *, empty: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty: Line = (0, Content.assemble((empty, _QUIET)))
        self._lines: Sequence[Line] = ()
        self._content = Content()
        self._body = Static(markup=False)

    def compose(self) -> ComposeResult:
        yield self._body

    def show(self, lines: Sequence[Line]) -> None:
        """Show a text; for no lines, the sentence that says so."""
        self._lines = lines
        self._lay_out()

    def on_resize(self) -> None:
        self._lay_out()

    def _lay_out(self) -> None:
        width = self.scrollable_content_region.width
        if not width:
            return
        content = wrapped(self._lines or (self._empty,), width)
        if content == self._content:
            return
        more = content.plain.count("\n") - self._content.plain.count("\n")
        self._content = content
        self._body.update(content)
        if self.scroll_offset.y > 0 and more > 0:
            self.call_after_refresh(self.scroll_relative, y=more, animate=False)


def events_lines(events: Sequence[Event]) -> list[Line]:
    """Return one line an event, newest first: time, step, how bad, what happened."""
    lines = []
    for event in reversed(events[-_MOST_LINES:]):
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        step = f"step {event.step}" if event.step is not None else ""
        level = str(event.level)
        sign = {"warning": "!", "error": glyph(State.FAILED)}.get(level, " ")
        head = f"{clock}  {step:<11} "
        ink = _LEVELS.get(level, "")
        line = Content.assemble((head, _QUIET), (f"{sign} ", ink), (visible(" ".join(event.message.split())), ink))
        lines.append((len(head) + 2, line))
    return lines


def samples_lines(samples: Sequence[Sample]) -> list[Line]:
    """Return prompt, response, reference and scores of each sample, those of the newest step first."""
    lines: list[Line] = []
    for step, group in itertools.groupby(reversed(samples), key=lambda sample: sample.step):
        found = list(group)[::-1]
        number = f"{len(found)} sample{'s' if len(found) != 1 else ''}"
        lines.append((0, Content.assemble((f"step {step}", "bold $accent"), (f"  {number}", _QUIET))))
        for sample in found:
            lines += [*_sample(sample), (0, Content())]
        if len(lines) > _MOST_LINES:
            break
    return lines[:-1]


def _sample(sample: Sample) -> Iterator[Line]:
    reference = sample.reference
    same = reference is not None and reference.split() == sample.response.split()
    yield from _field("prompt", sample.prompt, _QUIET)
    yield from _field(
        f"response {glyph(State.SUCCEEDED)}" if same else "response", sample.response, "$success" if same else ""
    )
    if reference is not None and not same:
        yield from _field("reference", reference, "$accent")
    if sample.scores:
        scores = "  ".join(f"{name} {short(value)}" for name, value in sample.scores.items())
        yield from _field("scores", scores, _QUIET)


def _field(name: str, text: str, style: str) -> Iterator[Line]:
    label = f"{name:<{_LABEL}}"
    for line in [visible(line) for line in text.splitlines()] or ["(nothing)"]:
        yield _LABEL, Content.assemble((label, _QUIET), (line, style))
        label = " " * _LABEL
