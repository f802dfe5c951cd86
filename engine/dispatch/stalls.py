"""Ranks that take no step any more: found by the marks that every rank leaves, named once."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FEWEST_SECONDS = 60.0  # nothing shorter is a stall, whatever the steps take
# Work of minutes that is marked once, when it begins.
SLOW_PHASES = frozenset({"meet", "build", "resume", "generate", "score", "evaluate", "checkpoint", "settle", "export"})
_SLOWER = 10.0  # how much longer these may take
_REMEMBERED = 64  # steps


@dataclass(frozen=True, slots=True)
class Stalled:
    """A rank without a step for too long."""

    rank: int
    node: int  # index
    step: int | None
    phase: str | None
    seconds: float  # since its last mark
    state: str  # of its process, as in /proc: T is stopped, D waits for a disk or network file system

    def sentence(self, host: str, last_line: str) -> str:
        """Say which rank has stalled where, and its last words."""
        why = {"T": ", its process is stopped", "D": ", its process waits for a disk or a network file system"}
        at = f" at step {self.step}" if self.step is not None else ""
        in_phase = f" ({self.phase.replace('_', ' ')})" if self.phase else ""
        told = f"rank {self.rank} ({host}) has not got on for {_span(self.seconds)}{at}{in_phase}"
        words = f"; its last line: {last_line}" if last_line else "."
        return f"{told}{why.get(self.state, '')}{words}"


class StallWatch:
    """The marks of a run's ranks, by node."""

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._last: dict[int, tuple[int, float]] = {}  # rank → step, and when it was first seen at it
        self._pulses: dict[int, tuple[float, Mapping[str, Any]]] = {}  # node → when heard, ranks

    def hear(self, node: int, ranks: Mapping[str, Any], now: float) -> None:
        """Take in how the ranks of a node stand. now: monotonic seconds."""
        self._pulses[node] = (now, ranks)
        for name, found in ranks.items():
            rank, step = int(name), found.get("step")
            if step is None:
                continue
            before = self._last.get(rank)
            if before is None or step < before[0]:
                self._last[rank] = (step, now)
            elif step > before[0]:
                self._durations.append((now - before[1]) / (step - before[0]))
                self._last[rank] = (step, now)

    def forget(self, node: int) -> None:
        """The node is silent: its marks are old and say nothing."""
        self._pulses.pop(node, None)

    def patience_seconds(self, phase: str | None) -> float:
        """Return how long a rank may be without a mark."""
        median = statistics.median(self._durations) if self._durations else 0.0
        slower = _SLOWER if phase is None or phase in SLOW_PHASES else 1.0
        return max(FEWEST_SECONDS * slower, self._factor * median)

    def stalled(self, now: float) -> Stalled | None:
        """Return the rank that holds the others up, if one does.

        All ranks wait for each other, so all stand still when one does: it is the one whose process is stopped, or else
        the one whose last mark is the oldest.
        """
        found = [
            Stalled(
                int(name), node, each.get("step"), each.get("phase"), each["ago"] + now - heard, each.get("state", "")
            )
            for node, (heard, ranks) in self._pulses.items()
            for name, each in ranks.items()
            if each.get("ago") is not None
        ]
        late = [each for each in found if each.seconds > self.patience_seconds(each.phase)]
        if not late:
            return None
        return max(late, key=lambda each: (each.state == "T", each.state == "D", each.seconds))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
