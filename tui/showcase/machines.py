"""How the generated cluster stands: eight nodes of eight GPUs, some of them busy with the runs that go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.store import attempts, nodes
from tui.showcase.history import SLOTS, Attempt, History

HOSTS = tuple(f"n{node}" for node in range(8))
_GPU = "NVIDIA H100 80GB HBM3"
_MEMORY = 80e9  # bytes
_SLOW = ("n2", 5)  # the slot that the others of its run wait for


def hear(history: History, live: Sequence[Attempt], *, sample: bool = False) -> None:
    """Hear all nodes now, and on them the ranks of what runs. sample: keep how they stand, for curves."""
    work = {host: attempt for attempt in live for host in attempt.hosts}
    now = history.clock.now
    for host in HOSTS:
        standing = _standing(history, host, work.get(host))
        nodes.hear(history.store, host, host, heard_at=now - 1, message=None, standing=standing, sample=sample)
    for attempt in live:
        for index, host in enumerate(attempt.hosts):
            ranks = {str(SLOTS * index + slot): _rank(attempt, host, slot) for slot in range(SLOTS)}
            attempts.hear(
                history.store, attempt.identity, attempt.number, index, host,
                heard_at=now - 1, message=None, pulse={"ranks": ranks},
            )  # fmt: skip


def _rank(attempt: Attempt, host: str, slot: int) -> Mapping[str, Any]:
    ago = 48.0 if (host, slot) == _SLOW else 1.2
    return {
        "pid": 41_200 + 8 * int(host[1:]) + slot,
        "slot": slot,
        "state": "S",
        "step": attempt.step,
        "phase": "forward_backward",
        "ago": ago,
        "cpu_percent": 101,
        "resident_bytes": 11.2e9,
    }


def _standing(history: History, host: str, attempt: Attempt | None) -> Mapping[str, Any]:
    number, noise = int(host[1:]), history.noise
    busy = 0.0 if attempt is None else 96.0 if attempt.identity.startswith("ppo") else 88.0
    gpus = []
    for slot in range(SLOTS):
        percent = busy and min(100.0, busy + float(noise.integers(-3, 4)))
        fault = {"code": 79, "text": "GPU has fallen off the bus"} if (host, slot) == ("n5", 2) else None
        pid, command = 41_200 + 8 * number + slot, "/opt/plumbline/bin/python"
        process = {"pid": pid, "command": command, "user": "anna", "memory_bytes": 0.88 * _MEMORY, "ours": True}
        gpus.append({
            "index": slot, "uuid": f"GPU-{host}-{slot}", "name": _GPU, "bus": "0", "xid": fault, "ecc_uncorrected": 0,
            "memory_total_bytes": _MEMORY, "memory_used_bytes": 0.89 * _MEMORY if busy else 0.5e9,
            "utilization_percent": percent, "temperature_c": 73.0 - number if busy else 41.0,
            "power_w": 612.0 if busy else 70.0, "processes": [process | {"folder": None}] if busy else [],
        })  # fmt: skip
    return {
        "time": history.clock.now,
        "cpu": {"cores": 96, "percent": 12.0 + number, "load": [13.1, 12.0, 11.0]},
        "memory": {"used_bytes": 212e9, "total_bytes": 1024e9},
        "network": {"in_bytes_per_second": 1.14e9, "out_bytes_per_second": 1.1e9} if busy else {},
        "shm": {"free_bytes": 500e9, "total_bytes": 512e9},
        "disk": {"path": "/data", "free_bytes": 1.1e12, "total_bytes": 7e12},
        "leases": {},
        "gpus": gpus,
        "problems": [],
    }
