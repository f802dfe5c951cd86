"""A day of eight runs in minutes: whether `plumbline` stays as small and as quick as it began.

    python benchmarks/soak.py [--steps 100000] [--metrics 12] [--seconds 300]

`soak_writer.py` writes 8 runs with log, samples, events, checkpoints and restarts into a database; a real `plumbline`
in a terminal of 160x48 watches from the first step on, while keys lead it round its six places, through charts, axes,
panes and the comparison of all eight. A line for each tenth of the steps: memory, CPU, bytes written, and how long keys
take until the screen shows what they did. Targets: less than 300 MiB, flat; keys as quick at the end as at the start.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from machine import describe
from soak_writer import DATABASE, RUNS
from terminal.emulated import Screen
from terminal.pty_program import COLUMNS, LINES, PtyProgram

PAUSE = 0.12  # seconds between two keys
SETTLE = 0.3  # seconds before a key that is measured
PATIENCE = 20.0  # seconds
REPOSITORY = Path(__file__).resolve().parents[1]
MOST_MEMORY = 300.0  # MiB
_PLACES: dict[str, Callable[[Screen], bool]] = {
    "1": lambda screen: " runs, 8 marked" in screen.row(1),
    "2": lambda screen: "smoothing" in screen.row(LINES - 2) and "S spec" in screen.text(),
    "3": lambda screen: "reward-KL" in screen.text(),
    "4": lambda screen: " wait ─" in screen.row(1),
    "5": lambda screen: " slots busy" in screen.row(1),
    "6": lambda screen: " index ─" in screen.row(1),
}
_ID_COLUMN = 5  # of the list of runs


@dataclass(slots=True)
class Tenth:
    """What was measured while a tenth of the steps was written."""

    memory: list[float] = field(default_factory=list)  # MiB
    keys: list[float] = field(default_factory=list)  # seconds: cursor, smoothing
    places: list[float] = field(default_factory=list)  # seconds: from one place to another
    cpu: float = 0.0  # seconds
    received: int = 0  # bytes
    seconds: float = 0.0


class Visitor:
    """Presses keys, round and round, and measures."""

    def __init__(self, terminal: PtyProgram) -> None:
        self.terminal, self.tenth, self._rounds = terminal, Tenth(), 0

    def round(self) -> None:
        """Visit every place once."""
        self.runs()
        self.run()
        self.compare()
        for digit in "456":
            self.go(digit)
            self.press("jjkk")

    def runs(self) -> None:
        """Move the cursor, each time until it has moved."""
        self.go("1")
        self.press("g", "jj" + "j" * (self._rounds % RUNS))
        self._rounds += 1
        for key in "kjkjkj":
            self.measure(key, _cursor)

    def run(self) -> None:
        """Look at charts and panes of a run, and at those of its neighbours."""
        self.go("2")
        for key in "[]][":
            self.press(key)
            self.terminal.wait(_header, PATIENCE)  # it was read
        self.smooth()
        self.press("xxxxx", "v", "v", "v", "v", "i", "\x1b[D", "\x1b[D", "i", "+", "+", "\x1b[D", "0")
        self.press("\x1b[6~", "\x1b[6~", "\x1b[5~", "\x1b[5~", "\r", "\x1b")
        for way_back in ("2", "\x1b"):  # with nothing to maximise escape left the screen; or it came too soon
            if self.terminal.wait(lambda screen: "S spec" in screen.text(), 2 * SETTLE) is None:
                self.press(way_back)
        self.smooth()
        for pane in "ls!SL":
            self.press(pane, "j", "k")
        self.press("\x1b", "\x1b[6~", "\x1b[5~")

    def compare(self) -> None:
        """Look at all tabs of the comparison."""
        self.go("3")
        self.smooth()
        self.press("xx", "\x1b[6~", "\x1b[5~", "i", "\x1b[D", "i")
        self.smooth()
        for tab in "pdmsac":
            self.press(tab, "j", "k", "J")

    def smooth(self) -> None:
        """Smooth more and less, each time until the screen says so."""
        for key in ".,":
            self.measure(key, _smoothing)

    def go(self, digit: str) -> None:
        """Go to a place."""
        self.wait(digit, _PLACES[digit], self.tenth.places)

    def measure(self, key: str, told: Callable[[Screen], object]) -> None:
        """Press a key and note how long it takes until the screen tells something else. told: null is nothing."""
        time.sleep(SETTLE)
        before = told(self.terminal.screen)
        self.wait(key, lambda screen: told(screen) not in (None, before), self.tenth.keys)

    def wait(self, key: str, holds: Callable[[Screen], bool], into: list[float]) -> None:
        """Press a key, wait until something holds, note how long that took, then rest."""
        with self.terminal.changed:
            fresh = not holds(self.terminal.screen)
        self.terminal.press(key)
        took = self.terminal.wait(holds, PATIENCE)
        if took is None:
            sys.exit(f"{key!r} did nothing for {PATIENCE:g} s:\n{self.terminal.said()}")
        if fresh:
            into.append(took)
        time.sleep(PAUSE)

    def press(self, *keys: str) -> None:
        """Press keys that are not measured. keys: sequences, or several letters."""
        for key in keys:
            for one in [key] if key.startswith("\x1b") else key:
                self.terminal.press(one)
                time.sleep(SETTLE if one == "\x1b" else PAUSE)  # else it were the beginning of the next key
        self.tenth.memory.append(self.terminal.resident())


def _cursor(screen: Screen) -> tuple[str, ...]:
    return tuple(styles[_ID_COLUMN] for styles in screen.styles[3 : LINES - 4])


def _header(screen: Screen) -> bool:
    return any(told in screen.row(1) for told in ("step ", "waits "))


def _smoothing(screen: Screen) -> str | None:
    found = re.search(r"smoothing [\d.]+|no smoothing", screen.row(LINES - 2))
    return found.group() if found else None


def _milliseconds(seconds: list[float]) -> str:
    return f"{np.percentile(seconds, 95) * 1000:8.0f}" if seconds else f"{'–':>8}"


def watch(terminal: PtyProgram, writer: subprocess.Popen[str]) -> list[Tenth]:
    """Visit all places again and again while the writer writes; print a line a tenth."""
    written = 0
    ended = threading.Event()

    def follow() -> None:
        nonlocal written
        assert writer.stdout is not None
        for line in writer.stdout:
            if line.strip().isdecimal():
                written = int(line)
        ended.set()

    threading.Thread(target=follow, daemon=True).start()
    visitor, tenths = Visitor(terminal), list[Tenth]()
    head = ("written", "MiB", "most", "CPU %", "KB/s", "key p95", "place p95", "keys")
    print(("{:>8}" * 5 + "{:>9}{:>11}{:>6}").format(*head), flush=True)
    began, cpu, received = time.monotonic(), terminal.cpu_seconds(), len(terminal.output)
    while not ended.is_set():
        visitor.round()
        if written == len(tenths) and not ended.is_set():
            continue
        tenth = visitor.tenth
        now, used, got = time.monotonic(), terminal.cpu_seconds(), len(terminal.output)
        tenth.seconds, tenth.cpu, tenth.received = now - began, used - cpu, got - received
        began, cpu, received = now, used, got
        visitor.tenth = Tenth()
        tenths.append(tenth)
        print(
            f"{10 * max(written, len(tenths)):>7}%{tenth.memory[-1]:>8.0f}{max(tenth.memory):>8.0f}"
            f"{100 * tenth.cpu / tenth.seconds:>8.0f}{tenth.received / tenth.seconds / 1000:>8.1f}"
            f"{_milliseconds(tenth.keys):>9}{_milliseconds(tenth.places):>11}{len(tenth.keys) + len(tenth.places):>6}",
            flush=True,
        )
    return tenths


def judge(tenths: list[Tenth]) -> None:
    """Print what the bars say."""
    second, last = tenths[min(1, len(tenths) - 1)], tenths[-1]
    most = max(max(tenth.memory) for tenth in tenths)
    print(f"memory: at most {most:.0f} MiB (target: < {MOST_MEMORY:g});", end="")
    print(f" second tenth {max(second.memory):.0f}, last {max(last.memory):.0f} MiB")
    print(f"keys, p95: second tenth{_milliseconds(second.keys)} ms, last{_milliseconds(last.keys)} ms")
    print(f"places, p95: second tenth{_milliseconds(second.places)} ms, last{_milliseconds(last.places)} ms")


def main() -> None:
    """Replay, watch, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--metrics", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=300.0)
    options = parser.parse_args()
    print(describe())
    print(
        f"{RUNS} runs × {options.steps:,} steps × {options.metrics} metrics in {options.seconds:g} s, "
        f"a screen of {COLUMNS}x{LINES}"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with tempfile.TemporaryDirectory(prefix="plumbline-soak-") as folder:
        arguments = [f"--{name}={getattr(options, name)}" for name in ("steps", "metrics", "seconds")]
        writer = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "benchmarks" / "soak_writer.py"), folder, *arguments],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        try:
            assert writer.stdout is not None
            writer.stdout.readline()
            words = [sys.executable, "-m", "tui", "--debug", "--readonly", "--db", str(Path(folder) / DATABASE)]
            own = {"PYTHONPATH": str(REPOSITORY), "HOME": folder}
            with PtyProgram(words, Path.cwd(), own, emulated=True, answers=False) as terminal:
                terminal.shows("10 runs")
                # newest first, so that the two that wait stand above the eight; a mark moves the cursor on
                terminal.press("jj" + " " * RUNS)
                terminal.shows("10 runs, 8 marked")
                judge(watch(terminal, writer))
        finally:
            writer.terminate()
            writer.wait()


if __name__ == "__main__":
    main()
