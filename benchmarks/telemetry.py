"""What a training step pays for telling its metrics: `python benchmarks/telemetry.py`.

Our writer hands the record to a thread; beside it, in the same run, the plain way: encode, write and flush in the step.
Both write the same ten metrics a step; a step of 2 ms of work lies between two calls. Below them, what each phase of a
step pays for the mark that says where the rank is.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from machine import describe

from engine.telemetry.progress import ProgressMark
from engine.telemetry.records import METRICS_FILE, MetricsRecord, encode
from engine.telemetry.writer import TelemetryWriter

STEPS = 2_000
METRICS = {f"metric_{number}": number / 7 for number in range(10)}


def timed(tell: Callable[[int, Mapping[str, float]], None]) -> list[float]:
    """Return the microseconds of each call."""
    took = []
    for step in range(STEPS):
        began = time.perf_counter()
        tell(step, METRICS)
        took.append((time.perf_counter() - began) * 1e6)
        time.sleep(0.002)
    return took


def row(name: str, took: list[float]) -> str:
    """Return one line of the table."""
    cuts = statistics.quantiles(took, n=100)
    return f"{name:<28} {cuts[49]:>8.1f} {cuts[98]:>8.1f} {max(took):>10.1f}"


def main() -> None:
    """Measure and print."""
    print(describe())
    print(f"{'microseconds a call':<28} {'median':>8} {'p99':>8} {'most':>10}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer = TelemetryWriter(folder / "ours", 1)
        print(row("writer with a thread", timed(writer.metrics)))
        writer.close()
        assert (folder / "ours" / METRICS_FILE).read_bytes().count(b"\n") == STEPS
        with (folder / "plain.jsonl").open("ab") as file:

            def plain(step: int, metrics: Mapping[str, float]) -> None:
                file.write(encode(MetricsRecord(time.time(), 1, step, metrics)))
                file.flush()

            print(row("encode, write and flush", timed(plain)))
        mark = ProgressMark(folder, 0)
        print(row("mark of progress", timed(lambda step, _: mark.mark(step, "forward_backward"))))
        mark.close()


if __name__ == "__main__":
    main()
