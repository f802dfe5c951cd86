"""The measurements, each of a program in a pseudo-terminal of 160x48."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from terminal.pty_program import PtyProgram


@dataclass(frozen=True, slots=True)
class Command:
    """How a program is started, and what tells that it is there."""

    words: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    first: bytes  # in what it writes with its first frame
    filled: bytes  # as soon as its data are on the screen
    emulated: bool = True

    def start(self) -> PtyProgram:
        """Start it."""
        return PtyProgram(self.words, self.folder, self.environment, emulated=self.emulated)


def first_frame(command: Command, runs: int) -> tuple[float, float]:
    """Return the least CPU seconds until the first frame stood, and until its data did."""
    found = []
    for _ in range(runs):
        with command.start() as program:
            program.wait_for(command.first)
            first = program.cpu_seconds()
            program.wait_for(command.filled)
            found.append((first, program.cpu_seconds()))
    return min(first for first, _ in found), min(filled for _, filled in found)


def at_rest(programs: Mapping[str, PtyProgram], seconds: float) -> dict[str, tuple[int, float]]:
    """Return of each program how many bytes it writes in so many seconds, and its CPU in percent; all at once."""
    before = {name: (len(program.output), program.cpu_seconds()) for name, program in programs.items()}
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        for program in programs.values():
            program.read_for(0.02)
    return {
        name: (
            len(program.output) - before[name][0],
            100 * (program.cpu_seconds() - before[name][1]) / seconds,
        )
        for name, program in programs.items()
    }


def live(program: PtyProgram, seconds: float) -> tuple[float, float]:
    """Return bytes a second and CPU in percent."""
    cpu = program.cpu_seconds()
    written = program.read_for(seconds)
    return written / seconds, 100 * (program.cpu_seconds() - cpu) / seconds


def redraws(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], results: Path, patience: float = 200.0
) -> tuple[dict[int, float], int]:
    """Run a program that measures itself; return median CPU seconds by points, and bytes that it wrote in all."""
    with PtyProgram(words, folder, environment) as program:
        give_up = time.monotonic() + patience
        while not program.has_ended and time.monotonic() < give_up:
            program.read_for(0.2)
        written = len(program.output)
        if not results.exists():
            raise RuntimeError(f"{words[0]} measured nothing: {bytes(program.output[-2_000:])!r}")
    found = json.loads(results.read_text(encoding="utf-8"))
    return {int(points): statistics.median(seconds) for points, seconds in found.items()}, written
