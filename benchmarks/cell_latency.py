"""From the write of a metric on a node to its cell on the screen: how long that takes. Target: p95 ≤ 500 ms.

    python benchmarks/cell_latency.py [--seconds 40] [--runs 8] [--rate 10] [--metrics 40]

Simulated runs on a loopback testbed, an OpenSSH server a node; a dispatcher; and a real `plumbline` in a terminal of
120x40. The delay of a step is the time from the call that logged it on the node until the screen shows it or a later
one: in the column `step` of the list of all runs, then in the first line of the screen of one run, over its charts.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from cluster_load import cpu_seconds
from machine import describe
from terminal.emulated import Screen
from terminal.pty_program import PtyProgram

from engine.cluster.snapshot import take_snapshot
from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.lock import holder
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store.database import Store
from engine.telemetry.states import Desired

STEPS = 9_999
SPEC = "kind: sim\nsteps: {steps}\nstep_seconds: {seconds}\nmetrics: {metrics}\nplacement: {{nodes: 1, slots: 1}}\n"
COLUMNS, LINES = 120, 40
TARGET = 500  # milliseconds
_SETTLE = 5.0  # seconds
_CELL = re.compile(rf" (\d+)/{STEPS}\b")
_ROW = re.compile(r"\b(sim-\d+)\b")


class Watch:
    """When which step of each run was on the screen first."""

    def __init__(self, steps_on: Callable[[Screen], Mapping[str, int]]) -> None:
        self.shown: dict[str, dict[int, float]] = {}
        self._steps_on = steps_on

    def __call__(self, screen: Screen, now: float) -> None:
        """Look at the screen as it is now."""
        for identity, step in self._steps_on(screen).items():
            at = self.shown.setdefault(identity, {})
            last = max(at) if at else step - 1  # what stood there before counts for nothing
            at.update(dict.fromkeys(range(last + 1, step + 1), now))


def in_list(screen: Screen) -> dict[str, int]:
    """Return the steps that the list of all runs shows."""
    found = {}
    for line in range(screen.lines):
        row = screen.row(line)
        run, cell = _ROW.search(row), _CELL.search(row)
        if run and cell:
            found[run.group(1)] = int(cell.group(1))
    return found


def in_header(screen: Screen) -> dict[str, int]:
    """Return the step that the screen of one run shows."""
    run, cell = _ROW.search(screen.row(0)), re.search(rf"step (\d+)/{STEPS}\b", screen.row(1))
    return {run.group(1): int(cell.group(1))} if run and cell else {}


def delays(shown: Mapping[str, Mapping[int, float]], logged: Callable[[str], Mapping[int, float]]) -> list[float]:
    """Return the delay of each step in seconds, without those that stood on the screen when it was first seen."""
    found = []
    for identity, at in shown.items():
        written = logged(identity)
        found += [now - written[step] for step, now in list(at.items())[1:] if step in written]
    return found


def told(name: str, seconds: list[float]) -> str:
    """Return a line of percentiles."""
    if not seconds:
        return f"  {name:<26} never showed a new step"
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
    return f"  {name:<26} p50 {p50:4.0f} ms  p95 {p95:4.0f} ms  p99 {p99:4.0f} ms   ({len(seconds)} steps)"


def watch_screens(store: Store, ids: list[str], seconds: float) -> None:
    """Open `plumbline` on runs that log; print for each screen how late its cells are, and what that costs."""

    def logged(identity: str) -> dict[int, float]:
        """Return when each step was logged, as the file on its node has it."""
        file = Path(attempts.list_attempts(store, identity)[-1].run_dir) / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.endswith("}")]
        return {line["step"]: line["time"] for line in lines if line["kind"] == "metrics"}

    held = holder(store.path)
    assert held is not None
    command = [sys.executable, "-m", "tui", "--readonly", "--db", str(store.path)]
    folder = store.path.parent
    own = {"HOME": str(folder)}
    with PtyProgram(command, Path.cwd(), own, columns=COLUMNS, lines=LINES, emulated=True, answers=False) as terminal:
        terminal.shows(ids[0], ids[-1], "● running")
        for screen, keys, ready, steps_on in (
            ("list of all runs, step", "", "runs", in_list),
            ("screen of a run, its step", "\r", "smoothing", in_header),
        ):
            terminal.press(keys)
            terminal.shows(ready)
            time.sleep(_SETTLE)
            watch, began, received = Watch(steps_on), time.monotonic(), len(terminal.output)
            cpu = terminal.cpu_seconds(), cpu_seconds(held.pid)
            terminal.seen = watch
            time.sleep(seconds)
            terminal.seen = None
            wall, received = time.monotonic() - began, len(terminal.output) - received
            used, dispatched = terminal.cpu_seconds() - cpu[0], cpu_seconds(held.pid) - cpu[1]
            print(told(screen, delays(watch.shown, logged)), f"  (target: p95 ≤ {TARGET} ms)")
            print(f"    plumbline {100 * used / wall:.0f} % of a core, {received / wall / 1000:.1f} KB/s;", end="")
            print(f" dispatcher {100 * dispatched / wall:.0f} % of a core", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--rate", type=float, default=10.0, help="steps a second of each run")
    parser.add_argument("--metrics", type=int, default=40)
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(prefix="plumbline-cells-") as name:
        folder = Path(name)
        slots = -(-options.runs // options.nodes)
        with Testbed.start(folder / "ssh", nodes=options.nodes, slots=slots, workdir=folder / "work") as testbed:
            store = Store.open(folder / "experiments.db")
            code = take_snapshot(store.objects_dir).sha256
            spec = parse_spec(SPEC.format(steps=STEPS, seconds=1 / options.rate, metrics=options.metrics))
            hosts = testbed.hostfile.read_text(encoding="utf-8")
            ids = [experiments.create(store, spec, hostfile_text=hosts, code=code) for _ in range(options.runs)]
            lifecycle.ensure_running(store.path)
            while not all(each.step > 0 for each in experiments.list_experiments(store)):
                ended = [each for each in experiments.list_experiments(store) if each.state.ended]
                if ended:
                    sys.exit(f"{ended[0].id} {ended[0].state}: {ended[0].reason}")
                time.sleep(0.2)

            print(
                f"{options.runs} runs × {options.metrics} metrics × {options.rate:g} points/s on {options.nodes} nodes"
            )
            try:
                watch_screens(store, ids, options.seconds)
            finally:
                for identity in ids:
                    experiments.set_desired(store, identity, Desired.STOP_NOW)
                while any(not each.state.ended for each in experiments.list_experiments(store)):
                    time.sleep(0.2)
                lifecycle.stop(store.path)
                store.close()


if __name__ == "__main__":
    main()
