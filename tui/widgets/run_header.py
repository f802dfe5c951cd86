"""The first line of the Run screen: what the run is, how far it is, and how old that knowledge is."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from engine.telemetry.states import State
from tui.canvas.charset import Charset, current
from tui.canvas.numbers import duration, short
from tui.run_facts import RunFacts
from tui.safe_text import visible

SILENT_AFTER = 20.0  # seconds without a frame from a node before it is called silent
_GLYPHS = {
    State.QUEUED: ("○", "o"),
    State.STAGING: ("◔", "o"),
    State.STARTING: ("◑", "o"),
    State.RUNNING: ("●", "*"),
    State.SUCCEEDED: ("✔", "+"),
    State.FAILED: ("✖", "x"),
    State.STOPPED: ("■", "#"),
    State.LOST: ("?", "?"),
}
_BAR = 12  # cells


def silence(facts: RunFacts, now: float) -> str | None:
    """Return which nodes of a live run are silent since when, in words; null while all report."""
    if facts.experiment.state.ended or not facts.experiment.attempts:
        return None
    newest = max((contact.attempt for contact in facts.contacts), default=0)
    words = []
    for contact in facts.contacts:
        age = now - contact.heard_at if contact.heard_at is not None else None
        if contact.attempt != newest or (not contact.message and (age is None or age < SILENT_AFTER)):
            continue
        since = f"silent for {duration(age)}" if age is not None else "not heard yet"
        words.append(f"{visible(contact.host)} {since}" + (f" ({visible(contact.message)})" if contact.message else ""))
    return f"Lost contact: {', '.join(words)}. The values below may be old." if words else None


def eta_seconds(facts: RunFacts) -> float | None:
    """Return the time to the last step: the steps left times the recent median time of a step."""
    experiment = facts.experiment
    pace = facts.curves.seconds_per_step()
    if experiment.state is not State.RUNNING or experiment.total_steps is None or pace is None:
        return None
    return max(0, experiment.total_steps - experiment.step) * pace


def header_parts(facts: RunFacts, now: float, charset: Charset) -> list[tuple[int, str, str]]:
    """Return the parts in order as (priority, class, text); where room is short, low priorities stay away."""
    experiment = facts.experiment
    ascii_only = not charset.separator == "·"
    glyph = _GLYPHS[experiment.state][ascii_only]
    parts = [(9, "id", experiment.id)]
    if experiment.name != experiment.id:
        parts.append((4, "name", visible(experiment.name)))
    parts.append((9, f"state-{experiment.state.value}", f"{glyph} {experiment.state.value}"))
    total = experiment.total_steps
    parts.append((8, "text", f"step {experiment.step}/{total}" if total else f"step {experiment.step}"))
    if experiment.progress is not None:
        filled = round(_BAR * min(1.0, experiment.progress))
        parts.append((3, "bar", charset.bar[0] * filled + charset.bar[1] * (_BAR - filled)))
        parts.append((7, "text", f"{experiment.progress:.0%}"))
    eta = eta_seconds(facts)
    if eta is not None:
        parts.append((6, "text", f"ETA {duration(eta)}"))
    elif experiment.ended_at and experiment.started_at:
        parts.append((6, "text", f"took {duration(experiment.ended_at - experiment.started_at)}"))
    throughput = experiment.last.get("tokens_per_second")
    if throughput is not None:
        parts.append((5, "text", f"{short(throughput)} tok/s"))
    if facts.last_checkpoint is not None:
        parts.append((4, "mark", f"{charset.checkpoint} {facts.last_checkpoint}"))
    if experiment.heard_at is not None:
        parts.append((7, "age", f"{duration(now - experiment.heard_at)} old"))
    return parts


class RunHeader(Widget):
    """One line of parts; the age counts on by itself."""

    COMPONENT_CLASSES = {
        "header--id",
        "header--text",
        "header--name",
        "header--bar",
        "header--mark",
        "header--age",
        *(f"header--state-{state.value}" for state in State),
    }
    DEFAULT_CSS = """
    RunHeader {
        height: 1;
        background: $panel;
        .header--id { text-style: bold; color: $foreground; }
        .header--name { color: $foreground 70%; }
        .header--text { color: $foreground; }
        .header--bar { color: $accent; }
        .header--mark { color: $warning; }
        .header--age { color: $foreground 60%; }
        .header--state-queued, .header--state-staging, .header--state-starting { color: $foreground 70%; }
        .header--state-running { color: $success; text-style: bold; }
        .header--state-succeeded { color: $success; }
        .header--state-failed, .header--state-lost { color: $error; text-style: bold; }
        .header--state-stopped { color: $warning; }
    }
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._facts: RunFacts | None = None
        self._clock = clock
        self._shown: list[tuple[str, str]] = []

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick)

    def show(self, facts: RunFacts) -> None:
        """Show what is known now."""
        self._facts = facts
        self._tick()

    def on_resize(self) -> None:
        self._tick()

    def text(self) -> str:
        """Return the line as text."""
        return "  ".join(text for _, text in self._shown)

    def render_line(self, y: int) -> Strip:
        """Return the line, cut to the width."""
        segments = [Segment(" ", self.rich_style)]
        for name, text in self._shown:
            segments += [
                Segment(text, self.get_component_rich_style(f"header--{name}")),
                Segment("  ", self.rich_style),
            ]
        return Strip(segments).adjust_cell_length(self.size.width, self.rich_style)

    def _tick(self) -> None:
        if self._facts is None:
            return
        parts = header_parts(self._facts, self._clock(), current())
        while len(parts) > 2 and 1 + sum(cell_len(text) + 2 for _, _, text in parts) > self.size.width + 2:
            parts.remove(min(parts, key=lambda part: part[0]))
        shown = [(name, text) for _, name, text in parts]
        if shown != self._shown:
            self._shown = shown
            self.refresh()
