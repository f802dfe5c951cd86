"""How things stand, in words: for the top line and the status line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from engine.telemetry.numbers import duration
from engine.telemetry.states import State
from tui.canvas.charset import current
from tui.theme import glyph

if TYPE_CHECKING:
    from engine.store.experiment import Experiment
    from tui.app import PlumblineApp
    from tui.widgets.top_line import Part

SILENT_AFTER = 20.0  # seconds without a word from its nodes before a live run's values are called old
_TOLD = (
    (State.RUNNING, "good"),
    (State.STAGING, "text"),
    (State.STARTING, "text"),
    (State.QUEUED, "text"),
    (State.FAILED, "error"),
    (State.LOST, "error"),
)


def counts(experiments: Sequence[Experiment]) -> list[Part]:
    """Return how many there are of the states that ask for attention."""
    count = Counter(experiment.state for experiment in experiments)
    parts = []
    for state, ink in _TOLD:
        if count[state]:
            short = f"{glyph(state)} {count[state]}"
            parts.append((ink, f"{short} {state.value}", short))
    return parts


def dispatcher_standing(app: PlumblineApp, *, needed: bool) -> Content:
    """Return whether the dispatcher runs. needed: whether there is something for it to do."""
    if not app.intents.dispatches:
        return Content("generated experiments: nothing runs here")
    if app.dispatcher_pid is not None:
        return Content.assemble(("● ", "$success"), f"dispatcher runs ({app.dispatcher_pid})")
    if needed:
        return Content.assemble(("○ dispatcher does not run", "$warning"))
    return Content("○ dispatcher at rest")


def standing(experiments: Sequence[Experiment], app: PlumblineApp, now: float) -> Content:
    """Return whether the dispatcher runs and how old the data of the live runs is. now: seconds since the epoch."""
    live = [experiment for experiment in experiments if not experiment.state.ended]
    first = dispatcher_standing(app, needed=bool(live))
    heard = [
        experiment.heard_at
        for experiment in live
        if experiment.state is State.RUNNING and experiment.heard_at is not None
    ]
    if not heard:
        return first
    oldest = max(0.0, now - min(heard))
    style = "$warning" if oldest > SILENT_AFTER else ""
    return Content.assemble(first, f"  {current().separator}  ", (f"data {duration(oldest)} old", style))
