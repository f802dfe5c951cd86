"""How busy the scheduler keeps a cluster, how fair it is, and how long it thinks: `python benchmarks/scheduling.py`.

200 queued runs of 10 minutes to 4 hours, from one slot to four whole nodes, on 8 nodes of 8 slots, on a simulated
clock; the scheduler is the real one. Target: at least 95 % of the slots held while anything waits. It depends on what
is known of durations: nothing runs ahead of its turn on slots that another waits for, unless it is known to be short.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from machine import describe

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine.dispatch.scheduling import Wait, verdicts
from tests.dispatch.simulation import HOUR, Job, Known, longest_wait, nodes, overtaken, simulate, workload

SEEDS = 10
LOOKS = 20


def busy() -> None:
    """Print a line for each kind of knowledge."""
    print("durations known        held: mean  least   overtaken at most   longest wait   mean wait   makespan")
    for known in Known:
        shares: list[float] = []
        most, longest, waits, spans = 0, 0.0, [], []
        for seed in range(SEEDS):
            jobs = workload(seed, known)
            outcome = simulate(jobs)
            shares.append(outcome.busy)
            most, longest = max(most, overtaken(jobs)), max(longest, longest_wait(jobs))
            waits.append(statistics.mean(job.began_at - job.created_at for job in jobs))
            spans.append(outcome.ended_at)
        print(
            f"{known:22} {statistics.mean(shares):10.1%} {min(shares):6.1%} {most:12} of 199"
            f" {longest / HOUR:12.1f} h {statistics.mean(waits) / HOUR:9.1f} h {statistics.mean(spans) / HOUR:8.1f} h"
        )


def speed(count: int, cluster_nodes: int) -> None:
    """Print how long a look at a full cluster takes while so many runs wait."""
    cluster = nodes(cluster_nodes)
    jobs = workload(1, Known.EXACT, count=count + 40 * cluster_nodes, cluster=cluster)
    running: list[Job] = []
    begins = verdicts([job.queued() for job in jobs], {}, [], 0.0)
    by_id = {job.id: job for job in jobs}
    for identity, verdict in begins.items():
        if not isinstance(verdict, Wait):
            job = by_id[identity]
            job.began_at, job.slots = 0.0, {seat.host: seat.slot_numbers for seat in verdict.seats}  # type: ignore[union-attr]
            running.append(job)
    waiting = [job.queued() for job in jobs if not job.slots][:count]
    held = [job.running(60.0) for job in running]
    seconds = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        verdicts(waiting, {}, held, 60.0)
        seconds.append(time.perf_counter() - began)
    print(
        f"{len(waiting)} queued, {len(held)} running on {cluster_nodes} nodes of 8 slots: "
        f"{1000 * statistics.median(seconds):.1f} ms a look"
    )


def main() -> None:
    """Measure and print."""
    print(describe())
    busy()
    for count, cluster_nodes in ((200, 8), (200, 64), (1000, 64)):
        speed(count, cluster_nodes)


if __name__ == "__main__":
    main()
