"""The second line of the Run screen: how the run stands, how far it is, how fast, and how old that knowledge is."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual.strip import Strip

from engine.telemetry.numbers import duration, short, since
from engine.telemetry.states import Desired, State
from tui.canvas.charset import Charset, current
from tui.run.facts import RunFacts
from tui.standing import SILENT_AFTER
from tui.theme import STATE_COLORS, glyph
from tui.widgets.kept_style import KeptStyle

_SHORTEST_BAR, _LONGEST_BAR = 8, 40  # cells
_GAP = 2
_STATE_RULES = "\n".join(
    f"        .header--state-{state.value} {{ color: {color}; text-style: bold; }}"
    for state, color in STATE_COLORS.items()
)
_COUNTED = {"eval": "question", "rag": "chunk"}  # what a step is, by kind
_PHASES = {"generate_seconds": "gen", "score_seconds": "score", "train_seconds": "train", "sync_seconds": "sync"}
_WISHES = {Desired.STOP: ", stopping", Desired.STOP_NOW: ", stopping now"}


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of the line; where room is short, those of the least weight stay away."""

    weight: int
    ink: str
    text: str


def header_parts(facts: RunFacts, now: float, charset: Charset) -> list[Part]:
    """Return the parts in order; the bar is empty, for it takes what room is left. now: seconds since the epoch."""
    experiment = facts.experiment
    state, total = experiment.state, experiment.total_steps
    wish = "" if state.ended else _WISHES.get(experiment.desired, "")
    parts = [Part(9, f"state-{state.value}", f"{glyph(state)} {state.value}{wish}")]
    if total or experiment.step:
        word = _COUNTED.get(experiment.kind, "step")
        parts.append(Part(8, "text", f"{word} {experiment.step}/{total}" if total else f"{word} {experiment.step}"))
    if experiment.progress is not None:
        parts.append(Part(3, "bar", ""))
        parts.append(Part(7, "text", f"{int(100 * experiment.progress)}%"))
    parts += _pace(facts, now)
    if facts.last_checkpoint is not None:
        parts.append(Part(5, "mark", f"{charset.checkpoint} {facts.last_checkpoint}"))
    if experiment.attempts > 1:
        parts.append(Part(2, "quiet", f"attempt {experiment.attempts}"))
    return [*parts, _age(facts, now)]


def _pace(facts: RunFacts, now: float) -> list[Part]:
    experiment = facts.experiment
    from engine.store.remaining import seconds_left  # the first frame does without the database

    eta = seconds_left(experiment, facts.attempts[-1] if facts.attempts else None, now)
    if eta is not None:
        parts = [Part(6, "text", f"ETA {duration(eta)}")]
        throughput, mfu = experiment.last.get("tokens_per_second"), experiment.last.get("mfu")
        parts += [Part(4, "text", f"{short(throughput)} tok/s")] if throughput is not None else []
        parts += [Part(3, "text", f"MFU {mfu:.0%}")] if mfu is not None and math.isfinite(mfu) else []
        return [*parts, *_phases(facts)]
    if experiment.ended_at and experiment.started_at:
        return [Part(6, "text", f"took {duration(experiment.ended_at - experiment.started_at)}")]
    if experiment.state is State.QUEUED:
        return [Part(6, "text", f"waits {duration(now - experiment.created_at)}")]
    return []


def _phases(facts: RunFacts) -> list[Part]:
    """Return what the parts of the last step took, if it logs that."""
    last = facts.experiment.last
    told = [f"{word} {short(last[name], 2)}" for name, word in _PHASES.items() if name in last]
    return [Part(1, "quiet", f"{f' {current().separator} '.join(told)} s")] if told else []


def _age(facts: RunFacts, now: float) -> Part:
    experiment = facts.experiment
    if experiment.ended_at is not None and experiment.state.ended:
        return Part(6, "quiet", f"ended {since(now - experiment.ended_at)} ago")
    if experiment.heard_at is None:
        return Part(6, "quiet", "no data yet")
    age = now - experiment.heard_at
    return Part(7, "old" if age > SILENT_AFTER else "quiet", f"data {duration(age)} old")


class RunHeader(KeptStyle):
    """One line of parts, the age at its right end; the age counts on by itself."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *(f"header--{ink}" for ink in ("text", "quiet", "old", "bar", "rest", "mark")),
        *(f"header--state-{state.value}" for state in State),
    }
    DEFAULT_CSS = f"""
    RunHeader {{
        height: 1;
        padding: 0 1;
        .header--text {{ color: $foreground; }}
        .header--quiet {{ color: $foreground 60%; }}
        .header--old {{ color: $warning; text-style: bold; }}
        .header--bar {{ color: $primary; }}
        .header--rest {{ color: $foreground 25%; }}
        .header--mark {{ color: $warning; }}
{_STATE_RULES}
    }}
    """

    def __init__(self) -> None:
        super().__init__()
        self._facts: RunFacts | None = None
        self._parts: list[Part] = []

    def on_mount(self) -> None:
        self.set_interval(1.0, self._tick_if_seen)

    def show(self, facts: RunFacts | None) -> None:
        """Show what is known now."""
        self._facts = facts
        self.tick()

    def render_line(self, y: int) -> Strip:
        """Return the line: what has room, the bar as long as there is room for."""
        width = self.content_region.width
        parts = list(self._parts)
        while len(parts) > 2 and _least(parts) > width:
            parts.remove(min(parts, key=lambda part: part.weight))
        bar = min(_LONGEST_BAR, width - _least(parts) + _SHORTEST_BAR)
        used = _least(parts) + (bar - _SHORTEST_BAR if any(part.ink == "bar" for part in parts) else 0)
        segments: list[Segment] = []
        for part in parts:
            if part is parts[-1]:
                segments.append(Segment(" " * max(0, width - used), self.rich_style))
            if part.ink == "bar":
                segments += self._bar(bar)
            else:
                segments.append(Segment(part.text, self.get_component_rich_style(f"header--{part.ink}")))
            segments.append(Segment(" " * _GAP, self.rich_style))
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _tick_if_seen(self) -> None:
        if self.screen.is_current:
            self.tick()

    def tick(self) -> None:
        """Let the ages count on."""
        parts = header_parts(self._facts, time.time(), current()) if self._facts is not None else []
        if parts != self._parts:
            self._parts = parts
            self.refresh()

    def _bar(self, cells: int) -> list[Segment]:
        progress = self._facts.experiment.progress if self._facts else None
        filled = int(cells * (progress or 0.0))
        full, empty = current().bar[0], current().bar[1]
        return [
            Segment(full * filled, self.get_component_rich_style("header--bar")),
            Segment(empty * (cells - filled), self.get_component_rich_style("header--rest")),
        ]


def _least(parts: list[Part]) -> int:
    sizes = [_SHORTEST_BAR if part.ink == "bar" else cell_len(part.text) for part in parts]
    return sum(sizes) + _GAP * (len(parts) - 1)
