"""Sixty-four ranks that log forty metrics a second over SSH: how late the rows are, and what the dispatcher costs.

    python benchmarks/cluster_load.py [--seconds 120] [--nodes 8] [--slots 8] [--metrics 40]

Every rank is a simulated run of its own on a loopback testbed. The delay of a row is the time from the call that logged
it on the node until another process sees it in the database. Beside it, in the same run: `ssh NODE tail -F` of one of
the files, with nothing stored.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from machine import describe

from engine.cluster.snapshot import take_snapshot
from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.lock import holder
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments
from engine.store.database import Store
from engine.telemetry.states import Desired, State

SPEC = "kind: sim\nsteps: {steps}\nstep_seconds: 1.0\nmetrics: {metrics}\nplacement: {{nodes: 1, slots: 1}}\n"
_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def percentiles(delays: list[float]) -> str:
    """Return p50, p99 and the largest, in milliseconds."""
    p50, p99 = np.percentile(delays, [50, 99]) * 1000
    return f"p50 {p50:.0f} ms  p99 {p99:.0f} ms  max {max(delays) * 1000:.0f} ms  ({len(delays)} rows of metrics)"


def watch_rows(database: Path, seconds: float) -> list[float]:
    """Return how old each point was when it was first seen in the database."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    query = "SELECT experiment_id, last_step, last_time FROM series WHERE name = 'loss'"
    seen = {name: step for name, step, _ in connection.execute(query)}
    delays: list[float] = []
    version, until = -1, time.monotonic() + seconds
    while time.monotonic() < until:
        now_version = connection.execute("PRAGMA data_version").fetchone()[0]
        if now_version == version:
            time.sleep(0.004)
            continue
        version = now_version
        rows = connection.execute(query).fetchall()
        now = time.time()
        for name, step, at in rows:
            if step is not None and seen.get(name) != step:
                seen[name] = step
                delays.append(now - at)
    connection.close()
    return delays


def tail_delays(testbed: Testbed, file: str, seconds: float, delays: list[float]) -> None:
    """Follow one file by `tail -F` over ssh for so long; add how old each line is when it arrives."""
    command = ["ssh", "-F", str(testbed.ssh_config), "node-1", f"tail -c 0 -F {file}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as following:
        stop = threading.Timer(seconds, following.terminate)
        stop.start()
        assert following.stdout is not None
        for line in following.stdout:
            delays.append(time.time() - json.loads(line)["time"])
        stop.cancel()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--nodes", type=int, default=8)
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--metrics", type=int, default=40)
    options = parser.parse_args()
    ranks = options.nodes * options.slots
    print(describe())
    with tempfile.TemporaryDirectory(prefix="plumbline-load-") as name:
        folder = Path(name)
        with Testbed.start(
            folder / "ssh", nodes=options.nodes, slots=options.slots, workdir=folder / "work"
        ) as testbed:
            store = Store.open(folder / "experiments.db")
            code = take_snapshot(store.objects_dir).sha256
            spec = parse_spec(SPEC.format(steps=100_000, metrics=options.metrics))
            hosts = testbed.hostfile.read_text(encoding="utf-8")
            began = time.monotonic()
            ids = [experiments.create(store, spec, hostfile_text=hosts, code=code) for _ in range(ranks)]
            lifecycle.ensure_running(store.path)
            while not all(each.step > 0 for each in experiments.list_experiments(store)):
                ended = [each for each in experiments.list_experiments(store) if each.state.ended]
                if ended:
                    sys.exit(f"{ended[0].id} {ended[0].state}: {ended[0].reason}")
                time.sleep(0.2)
            print(f"{ranks} runs logged their first step within {time.monotonic() - began:.0f} s of the launch")
            time.sleep(5.0)
            held = holder(store.path)
            assert held is not None
            on_node_1 = next(
                each
                for each in (attempts.list_attempts(store, one)[-1] for one in ids)
                if each.placement[0]["host"] == "node-1"
            )
            tails: list[float] = []
            file = f"{on_node_1.run_dir}/metrics.jsonl"
            tail = threading.Thread(target=tail_delays, args=(testbed, file, options.seconds, tails))
            tail.start()
            cpu, wall = cpu_seconds(held.pid), time.monotonic()
            delays = watch_rows(store.path, options.seconds)
            cpu, wall = cpu_seconds(held.pid) - cpu, time.monotonic() - wall
            tail.join()
            print(f"{ranks} ranks × {options.metrics} metrics a second for {wall:.0f} s")
            print(f"  node → database       {percentiles(delays)}")
            print(f"  ssh tail -F, 1 file   {percentiles(tails)}")
            print(f"  dispatcher            {100 * cpu / wall:.1f} % of a core")
            for identity in ids:
                experiments.set_desired(store, identity, Desired.STOP_NOW)
            while any(each.state is not State.STOPPED for each in experiments.list_experiments(store)):
                time.sleep(0.2)
            lifecycle.stop(store.path)
            store.close()


if __name__ == "__main__":
    main()
