"""CPU time from the start of Python to the first frame of `plumbline` over 1,000 experiments. Target: less than 1 s.

Beside it, in the same run: a minimal Textual application, and `plumbline` until its list is on the screen. Each is a
process of its own; the least of some runs counts, for whatever else the machine does only adds to it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import describe

REPOSITORY = Path(__file__).resolve().parents[1]
EXPERIMENTS = 1_000
RUNS = 5
_DRIVE = """
import asyncio, resource
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
async def run():
    async with app.run_test(size=(120, 40)) as pilot:
        first = cpu()
        await ready(pilot)
        print(first, cpu())
asyncio.run(run())
"""
MINIMAL = (
    """
from textual.app import App
from textual.widgets import Static
class Minimal(App[None]):
    def compose(self):
        yield Static("hello")
app = Minimal()
async def ready(pilot):
    pass
"""
    + _DRIVE
)
PLUMBLINE = (
    """
import sys
from pathlib import Path
from tui.app import PlumblineApp
app = PlumblineApp(Path(sys.argv[1]), readonly=True)
async def ready(pilot):
    while app.screen.selected is None:
        await pilot.pause(0.02)
"""
    + _DRIVE
)
SPEC = """
kind: sft
name: run-{number}
model: {{architecture: {{layers: 2}}, tokenizer: {{}}}}
data: {{train: facts.jsonl}}
train: {{steps: 100}}
"""


def fill(database: Path) -> None:
    """Write experiments, each with a curve of 50 points."""
    from engine.spec.loading import parse_spec
    from engine.store import attempts, experiments, facts
    from engine.store.database import Store
    from engine.telemetry.reader import Chunk
    from engine.telemetry.records import METRICS_FILE, MetricsRecord, Record, StartRecord
    from engine.telemetry.states import State

    store = Store.open(database)
    for number in range(EXPERIMENTS):
        identity = experiments.create(store, parse_spec(SPEC.format(number=number)), tags=("many",))
        attempts.begin(store, identity, run_dir="/runs", placement=[])
        for state in (State.STARTING, State.RUNNING, State.SUCCEEDED):
            attempts.transition(store, identity, 1, state)
        records: list[Record] = [StartRecord(1e9, 1, 0, 100)]
        records += [MetricsRecord(1e9 + step, 1, step, {"loss": 2 / step, "lr": 1e-3}) for step in range(1, 51)]
        facts.ingest(store, identity, METRICS_FILE, Chunk(records, len(records), (), False), 0)
    store.close()


def measure(script: str, *arguments: str) -> tuple[float, float]:
    """Return the least CPU seconds to the first frame, and to when it is ready."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    found = []
    for _ in range(RUNS):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], env=environment, capture_output=True, text=True, check=True
        )
        first, ready = map(float, done.stdout.split()[-2:])
        found.append((first, ready))
    return min(first for first, _ in found), min(ready for _, ready in found)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "experiments.db"
        fill(database)
        minimal, _ = measure(MINIMAL)
        first, ready = measure(PLUMBLINE, str(database))
    print(f"CPU seconds, least of {RUNS} runs; {describe()}")
    print(f"  minimal Textual application, first frame    {minimal:.2f}")
    print(f"  plumbline, first frame                      {first:.2f}   (target: < 1)")
    print(f"  plumbline, list of {EXPERIMENTS:,} experiments shown     {ready:.2f}")


if __name__ == "__main__":
    main()
