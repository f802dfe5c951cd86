"""The events of a run as text: first what is wrong with it now, then what happened, newest first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from engine.telemetry.states import State
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import glyph
from tui.widgets.banner import advice

if TYPE_CHECKING:
    from engine.store.events import Event
    from engine.telemetry.health_observed import Verdict

_QUIET, _HEAD = "$foreground 60%", "bold $foreground 75%"
_INKS = {"info": "", "warning": "$warning", "error": "bold $error"}
_MOST_LINES = 4_000  # what is older, `engine show` has


def events_lines(events: Sequence[Event], verdicts: Sequence[Verdict] = ()) -> list[Line]:
    """Return one line an event: time, step, how bad, what happened; above them the verdicts, with their evidence."""
    lines = [line for verdict in verdicts for line in _verdict(verdict)]
    if lines:
        lines = [(0, Content.assemble(("health now", _HEAD))), *lines, (0, Content())]
        lines.append((0, Content.assemble(("what happened", _HEAD))))
    return [*lines, *(_event(event) for event in reversed(events[-_MOST_LINES:]))]


def _event(event: Event) -> Line:
    clock = time.strftime("%H:%M:%S", time.localtime(event.time))
    return _told(clock, event.step, str(event.level), " ".join(event.message.split()))


def _verdict(verdict: Verdict) -> Iterator[Line]:
    hang, line = _told("since   ", verdict.step, str(verdict.level), verdict.sentence)
    yield hang, Content.assemble(line, (advice(verdict), _QUIET))
    yield hang, Content.assemble(" " * hang, (f"evidence: {visible(verdict.evidence)}", _QUIET))


def _told(when: str, at: int | None, level: str, sentence: str) -> Line:
    step = f"step {at}" if at is not None else ""
    sign = {"warning": "!", "error": glyph(State.FAILED)}.get(level, " ")
    head, ink = f"{when}  {step:<11} ", _INKS.get(level, "")
    return len(head) + 2, Content.assemble((head, _QUIET), (f"{sign} ", ink), (visible(sentence), ink))
