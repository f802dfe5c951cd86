"""Long texts of a run that one scrolls through: its events, and the samples that its model wrote."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tui.canvas.numbers import short
from tui.safe_text import visible

if TYPE_CHECKING:
    from engine.store.events import Event
    from engine.store.samples import Sample

_LEVEL_STYLES = {"info": "", "warning": "$text-warning", "error": "bold $text-error"}


class Story(VerticalScroll):
    """Text that is replaced only when it changed; new text is shown from its newest end when that was in view."""

    DEFAULT_CSS = """
    Story { height: 1fr; padding: 0 1; scrollbar-size-vertical: 1; }
    Story > Static { width: 100%; }
    """

    def __init__(self, *, empty: str, id: str | None = None) -> None:
        super().__init__(id=id)
        self._empty = empty
        self._body = Static(Content(empty))
        self._content = Content(empty)

    def compose(self):  # type: ignore[no-untyped-def]
        yield self._body

    def show(self, content: Content) -> None:
        """Show a text; an empty one becomes the sentence for none."""
        content = content if content.plain else Content(self._empty)
        if content == self._content:
            return
        self._content = content
        at_end = self.is_vertical_scroll_end
        self._body.update(content)
        if at_end:
            self.scroll_end(animate=False)


def events_text(events: Sequence[Event]) -> Content:
    """Return one line an event: time, step, what happened."""
    lines = []
    for event in events:
        clock = time.strftime("%H:%M:%S", time.localtime(event.time))
        step = f"step {event.step}" if event.step is not None else ""
        lines.append(
            Content.assemble(
                (f"{clock}  {step:<12}", "$text-muted"),
                (visible(event.message), _LEVEL_STYLES.get(str(event.level), "")),
            )
        )
    return Content("\n").join(lines)


def samples_text(samples: Sequence[Sample]) -> Content:
    """Return prompt, response, reference and scores of each sample, oldest first, by step."""
    parts = []
    for sample in samples:
        scores = "  ".join(f"{visible(name)} {short(value)}" for name, value in sample.scores.items())
        lines = [
            Content.assemble((f"step {sample.step}", "bold $accent"), (f"  {scores}" if scores else "", "$text-muted")),
            _field("prompt", sample.prompt, "$text-muted"),
            _field("answer", sample.response, ""),
        ]
        if sample.reference is not None:
            lines.append(_field("truth", sample.reference, "$text-success"))
        parts.append(Content("\n").join(lines))
    return Content("\n\n").join(parts)


def _field(name: str, text: str, style: str) -> Content:
    lines = [visible(line) for line in text.splitlines()] or [""]
    return Content.assemble((f"{name:>7}  ", "$text-muted"), ("\n         ".join(lines), style))
