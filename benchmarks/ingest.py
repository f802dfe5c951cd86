"""How fast facts go from a run's files into the database: `python benchmarks/ingest.py`.

Two ways: in batches, as after a lost connection or for a run that is long over, and step by step, as from a live run,
where every step costs a transaction of its own. Each is done by reading the file, checking every record, writing the
rows and moving the cursor; the whole is timed, several times, and the median told.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe

from engine.spec.models import SftSpec
from engine.store import experiments, facts, series
from engine.store.database import Store
from engine.telemetry.reader import read_chunk
from engine.telemetry.records import METRICS_FILE, MetricsRecord, encode

METRICS = [
    *("loss", "lr", "grad_norm", "tokens_per_second", "samples_per_second"),
    *("seconds_per_step", "tokens", "epoch", "memory_bytes", "entropy"),
]


def fill(path: Path, steps: int) -> None:
    """Write a fact file of so many steps."""
    with path.open("wb") as file:
        for step in range(1, steps + 1):
            values = {name: (1 + place) / step for place, name in enumerate(METRICS)}
            file.write(encode(MetricsRecord(1_700_000_000.0 + step, 1, step, values)))


def ingest(store: Store, folder: Path, steps: int, limit: int) -> float:
    """Bring a fact file into a new experiment, `limit` bytes at a time; return points a second."""
    document: dict[str, Any] = {"model": {"architecture": {}, "tokenizer": {}}, "data": {"train": "none"}}
    identity = experiments.create(store, SftSpec.model_validate(document))
    began = time.perf_counter()
    at = facts.cursor(store, identity, METRICS_FILE)
    while (chunk := read_chunk(folder / METRICS_FILE, at, limit=limit)).offset != at:
        assert facts.ingest(store, identity, METRICS_FILE, chunk, at)
        at = facts.cursor(store, identity, METRICS_FILE)
    seconds = time.perf_counter() - began
    assert len(series.read(store, identity, "loss").step) == steps
    return steps * len(METRICS) / seconds


def median(measure: Callable[[], float], repeats: int) -> float:
    """Return the median of several measurements, after one that does not count."""
    measure()
    return statistics.median(measure() for _ in range(repeats))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20_000, help="steps of the batched run (default: %(default)s)")
    parser.add_argument("--live-steps", type=int, default=500, help="steps of the live run (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the database lies (default: a temporary folder)")
    arguments = parser.parse_args()
    print(describe(f"SQLite {sqlite3.sqlite_version}"))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        store = Store.open(folder / "experiments.db")
        fill(folder / METRICS_FILE, arguments.steps)
        batched = median(lambda: ingest(store, folder, arguments.steps, 1 << 22), arguments.repeats)
        fill(folder / METRICS_FILE, arguments.live_steps)
        longest = max(map(len, (folder / METRICS_FILE).read_bytes().splitlines(keepends=True)))
        live = median(lambda: ingest(store, folder, arguments.live_steps, longest), arguments.repeats)
        store.close()
    print(f"batched        {batched:>12,.0f} points/s  ({arguments.steps} steps, {len(METRICS)} metrics a step)")
    print(f"step by step   {live:>12,.0f} points/s  ({live / len(METRICS):,.0f} steps/s, a transaction each)")


if __name__ == "__main__":
    main()
