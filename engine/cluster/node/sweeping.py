"""The end of whatever lives of an attempt on this node, its agent too: when nobody else can end it any more."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any

from engine.cluster.node import slurm
from engine.cluster.node.exit_record import killed_record, leave_record, read_record
from engine.cluster.node.launching import expand, node_folder
from engine.cluster.node.processes import boot_id, process, process_start
from engine.cluster.node.remains import Traces, end_all

SWEEP_SECONDS = 10.0  # a process that has not died by then waits for a device


def sweep(tell: slurm.Tell, *, run_dir: str, attempt: int, node: int) -> Mapping[str, Any]:
    """Kill what lives of an attempt here, and leave an exit record if there is none; return how many there were."""
    folder = node_folder(expand(run_dir), attempt, node)
    if slurm.Watch.concerns(folder):  # its processes are elsewhere, and Slurm's
        return slurm.sweep(tell, run_dir=run_dir, attempt=attempt)
    who: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        who = json.loads((folder / "agent.json").read_text(encoding="utf-8"))
    roots: list[int] = []
    if who and who["boot_id"] == boot_id() and process_start(who["pid"]) == who["started"]:
        roots.append(int(who["pid"]))
    traces = Traces(folder, who.get("mark", ""), who.get("session"))
    spared = _self_and_above()
    killed, left = end_all(traces, roots=roots, spared=spared, seconds=SWEEP_SECONDS)
    if who and not left and read_record(folder) is None:
        leave_record(folder, killed_record(killed))
    return {"killed": killed, "left": left}


def _self_and_above() -> set[int]:
    found: set[int] = set()
    above = process(os.getpid())
    while above is not None and above.pid not in found:
        found.add(above.pid)
        above = process(above.parent)
    return found
