"""The terminal UI against its targets, beside `wandb leet` and textual-plotext: `python benchmarks/terminal_ui.py`.

A database of 1,000 experiments and 10 million points, and the real programs in pseudo-terminals of 160x48: CPU until
the first frame, CPU of a redraw of six charts, bytes and CPU while nothing runs and while eight runs log 40 metrics ten
times a second each, and the time from a key to its repaint. The others get as many runs and points, in an environment
of their own, which is made for it. Some seven minutes on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import describe
from terminal import keys
from terminal.filling import EXPERIMENTS, LIVE, LIVE_METRICS, POINTS, Filled, fill
from terminal.measuring import Command, at_rest, first_frame, live, redraws
from terminal.pty_program import COLUMNS, LINES, PtyProgram
from terminal.rivals import Rivals, install

from engine.store.database import Store

REPOSITORY = Path(__file__).resolve().parents[1]
STARTS = 5
SECONDS = 20.0  # at rest, and live
PLACES = {"Runs": "1", "Run": "2", "Compare": "3", "Queue": "4", "Cluster": "5", "Index": "6"}
NOTHING = "–"


@dataclass(slots=True)
class Table:
    """What was measured, a line a figure."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, ours: str, target: str = "", others: str = NOTHING) -> None:
        """Add a line, and print it."""
        self.rows.append((what, ours, target, others))
        print(f"  {what:<46}{ours:>14}  {target:<12}{others:>16}", flush=True)


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is."""

    folder: Path
    database: Path
    filled: Filled
    rivals: Rivals | None
    table: Table

    @property
    def environment(self) -> dict[str, str]:
        """What our processes get: this source, and nobody's settings."""
        return {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'benchmarks'}", "XDG_CONFIG_HOME": str(self.folder)}

    def plumbline(self, *arguments: str) -> Command:
        """Return our program over the database."""
        words = [sys.executable, "-m", "tui", "--db", str(self.database), *arguments]
        return Command(words, self.folder, self.environment, rb"plumbline", rb"live-7")

    def leet(self, rivals: Rivals, runs: str) -> Command:
        """Return LEET over a folder of runs."""
        environment = rivals.environment(self.folder)
        return Command(rivals.leet, self.folder / runs, environment, rb"Runs", rb"metric_0", emulated=False)


def measure_first_frame(bench: Bench) -> None:
    """CPU from the start of the process."""
    ours, others = first_frame(bench.plumbline(), STARTS), (None, None)
    if bench.rivals is not None:
        others = first_frame(bench.leet(bench.rivals, "many"), STARTS)
    for what, found, target, other in zip(
        ("first frame, CPU s", "data on the screen, CPU s"), ours, ("≤ 1.0", ""), others, strict=True
    ):
        bench.table.add(what, f"{found:.2f}", target, NOTHING if other is None else f"{other:.2f}")


def measure_redraw(bench: Bench) -> None:
    """CPU of six charts, one more point each."""
    results = bench.folder / "ours.json"
    words = [sys.executable, "-m", "terminal.six_charts", str(bench.database), bench.filled.long, str(results)]
    ours, _ = redraws(words, bench.folder, bench.environment, results)
    others: dict[int, float] = {}
    if bench.rivals is not None:
        results = bench.folder / "plotext.json"
        words = bench.rivals.script("plotext_charts", results)
        others, _ = redraws(words, bench.folder, bench.rivals.environment(bench.folder), results)
    for points, seconds in ours.items():
        target = "≤ 25" if points == max(ours) else ""
        other = f"{1000 * others[points]:,.0f}" if points in others else NOTHING
        bench.table.add(f"redraw of 6 charts × {points:,} points, CPU ms", f"{1000 * seconds:.1f}", target, other)


def measure_rest(bench: Bench) -> None:
    """Bytes and CPU while nothing runs, at each place."""
    with ExitStack() as stack:
        programs = {name: stack.enter_context(bench.plumbline().start()) for name in PLACES}
        for name, program in programs.items():
            _go(program, PLACES[name])
        for program in programs.values():
            program.wait_until_quiet(2.0)
        found = at_rest(programs, SECONDS)
    others = {}
    if bench.rivals is not None:
        with bench.leet(bench.rivals, "many").start() as program:
            program.wait_for(rb"metric_0")
            _wait_for_rest(program)
            others = at_rest({"LEET": program}, SECONDS)
    for name, (written, cpu) in found.items():
        told, used = others.pop("LEET") if others else (None, None)
        bench.table.add(f"at rest, {name}, bytes in {SECONDS:g} s", f"{written:,}", "0", _count(told))
        bench.table.add(f"at rest, {name}, CPU %", f"{cpu:.2f}", "< 1", NOTHING if used is None else f"{used:.2f}")


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _wait_for_rest(program: PtyProgram) -> None:
    """Wait until a program has read what it reads; at most a minute."""
    give_up = time.monotonic() + 60
    before = -1.0
    while time.monotonic() < give_up and program.cpu_seconds() - before > 0.1:
        before = program.cpu_seconds()
        program.read_for(2.0)


def _go(program: PtyProgram, key: str) -> None:
    program.wait_until(lambda screen: "live-7" in screen.text())
    program.press(key)
    program.read_for(0.5)


@contextmanager
def streaming(words: Sequence[str], environment: dict[str, str], told: Path | None = None) -> Iterator[None]:
    """Let runs log while this lasts. told: a file that is there as soon as they do; else a line tells it."""
    writer = subprocess.Popen(words, env=os.environ | environment, stdout=subprocess.PIPE, text=True)
    try:
        assert writer.stdout is not None
        if told is None:
            assert writer.stdout.readline().strip() == "streaming"
        else:
            give_up = time.monotonic() + 120
            while not told.exists() and time.monotonic() < give_up:
                time.sleep(0.1)
        yield
    finally:
        writer.kill()
        writer.wait()


def measure_live(bench: Bench) -> None:
    """Bytes, CPU and keys while eight runs log."""
    ours: list[tuple[str, tuple[float, float] | None, keys.Pressed]] = []
    words = [sys.executable, "-m", "terminal.streaming", str(bench.database), *bench.filled.live]
    with streaming(words, bench.environment), bench.plumbline().start() as program:
        program.wait_until(lambda screen: "live-7" in screen.text())
        program.read_for(3.0)
        told = live(program, SECONDS)
        names = [f"live-{number}" for number in range(LIVE - 1, LIVE - 6, -1)]
        ours.append(("Runs", told, keys.press_all(program, keys.of_runs(program.screen, names), 8)))
        program.press("\r")
        program.wait_until(lambda screen: "smoothing" in screen.row(LINES - 2) and "└┬" in screen.text())
        program.read_for(2.0)
        told = live(program, SECONDS)
        newest, before = bench.filled.live[-1], bench.filled.live[-2]
        ours.append(("Run", told, keys.press_all(program, keys.of_run(program.screen, newest, before), 5)))
        program.press("1")
        program.read_for(1.0)
        for _ in range(4):
            program.press(" j")
            program.read_for(0.3)
        program.press("3")
        program.wait_until(lambda screen: "reward-KL" in screen.text() and "smoothing" in screen.row(LINES - 2))
        program.read_for(3.0)
        ours.append(("Compare", None, keys.press_all(program, keys.OF_COMPARE, 6)))
        ours.append(("places", None, keys.press_all(program, keys.OF_PLACES, 6)))
    others = _leet_live(bench)
    for name, told, pressed in ours:
        (written, cpu), other = told or (None, None), others if name == "Runs" else None
        if written is not None:
            told_by = f"{other[0]:,.0f}" if other else NOTHING
            bench.table.add(f"live, {name}, bytes a second", f"{written:,.0f}", "≤ 2,048", told_by)
            bench.table.add(f"live, {name}, CPU %", f"{cpu:.1f}", "", f"{other[1]:.1f}" if other else NOTHING)
        told_by = f"{1000 * other[2].p95:.0f}" if other else NOTHING
        many = f"key to repaint, {name}, p95 of {len(pressed.seconds)}, ms"
        bench.table.add(many, f"{1000 * pressed.p95:.0f}", "≤ 50", told_by)
        told_by = f"{1000 * other[2].median:.0f}" if other else NOTHING
        bench.table.add(f"key to repaint, {name}, median, ms", f"{1000 * pressed.median:.0f}", "", told_by)


def _leet_live(bench: Bench) -> tuple[float, float, keys.Pressed] | None:
    """Return bytes a second, CPU and keys of LEET; its panes go and come, and any byte after a key counts for it."""
    if bench.rivals is None:
        return None
    folder = bench.folder / "live"
    words = bench.rivals.script("leet_runs", "stream", folder, str(LIVE), str(LIVE_METRICS))
    panes = [keys.Key(key, None, 0.5) for key in "]][[11??"]
    with ExitStack() as stack:
        stack.enter_context(streaming(words, bench.rivals.environment(bench.folder), folder / "streaming"))
        program = stack.enter_context(bench.leet(bench.rivals, "live").start())
        program.wait_for(rb"metric_0")
        program.read_for(3.0)
        return (*live(program, SECONDS), keys.press_all(program, panes, 4))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "experiments.db"
        began = time.monotonic()
        store = Store.open(database)
        filled = fill(store)
        store.close()
        print(describe(f"terminal {COLUMNS}x{LINES}"))
        print(f"{EXPERIMENTS:,} experiments, {POINTS:,} points, written in {time.monotonic() - began:.0f} s")
        rivals = install(folder / "environment")
        if isinstance(rivals, Rivals):
            rivals.write_runs(folder, "many", folder / "many", str(EXPERIMENTS), "10", str(POINTS // EXPERIMENTS // 10))
        else:
            print(rivals)
        table = Table()
        beside = "LEET, plotext" if isinstance(rivals, Rivals) else "not installed"
        print(f"  {'':<46}{'plumbline':>14}  {'target':<12}{beside:>16}")
        bench = Bench(folder, database, filled, rivals if isinstance(rivals, Rivals) else None, table)
        measure_first_frame(bench)
        measure_redraw(bench)
        measure_rest(bench)
        measure_live(bench)
        seconds = time.monotonic() - began
        print(f"  Redraws stand beside those of textual-plotext, all else beside wandb leet. {seconds:.0f} s in all.")


if __name__ == "__main__":
    main()
