"""The standing of this node, sampled every few seconds: how busy it is, its GPUs, its disk, and who holds its slots."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.cluster.node import leases, machine
from engine.cluster.node.gpus import gpu_facts
from engine.cluster.node.xids import XidLog

PATIENCE_SECONDS = 10.0  # for nvidia-smi and for a file system, before the node's standing is told without them

Send = Callable[[Mapping[str, Any]], None]


class Sampling:
    """Sends the node's standing from a thread of its own, until nobody takes it any more."""

    def __init__(self, send: Send, *, smi: str = "nvidia-smi") -> None:
        self._send = send
        self._seconds, self._workdir = 5.0, "~"
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None
        self._gpus = _Patient(lambda: gpu_facts(smi))
        self._disk = _Patient(lambda: machine.space(Path(self._workdir)))
        self._xids: XidLog | None = None

    def watch(self, *, seconds: float, workdir: str) -> None:
        """Send it every so many seconds from now on. workdir: the folder whose file system is of interest."""
        self._seconds, self._workdir = max(0.05, float(seconds)), workdir
        self._changed.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="sampling", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        self._xids = XidLog()
        before = None
        while True:
            self._changed.clear()
            after = machine.Counters.now()
            try:
                standing = self._sample(before, after)
            except Exception as error:  # what a kernel writes in another way must not hide the rest for good
                standing = {"time": time.time(), "problems": [f"{type(error).__name__}: {error}"]}
            try:
                self._send({"node": standing})
            except OSError:
                return  # the dispatcher has gone
            before = after
            self._changed.wait(self._seconds)

    def _sample(self, before: machine.Counters | None, after: machine.Counters) -> dict[str, Any]:
        rates = machine.rates(before, after) if before is not None else {}
        cpu = {"cores": machine.cores(), "load": machine.load()}
        if "percent" in rates:
            cpu["percent"] = rates.pop("percent")
        found: dict[str, Any] = {"time": time.time(), "cpu": cpu, "memory": machine.memory_now(), "network": rates}
        problems: list[str] = []
        shm = Path("/dev/shm")
        if shm.is_dir():
            space = machine.space(shm)
            found["shm"] = {name: space[name] for name in ("free_bytes", "total_bytes")}
        found["leases"] = {str(slot): holder for slot, holder in leases.standing().items()}
        disk, told = self._disk.ask(f"the file system of {self._workdir}")
        problems += told
        if disk is not None:
            found["disk"] = disk
        gpus, told = self._gpus.ask("nvidia-smi")
        problems += told
        if gpus is not None:
            found |= self._gpu_standing(gpus, problems)
        return {**{name: value for name, value in found.items() if value or name == "leases"}, "problems": problems}

    def _gpu_standing(self, facts: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
        if facts["gpu_problem"] is not None:
            problems.append(facts["gpu_problem"])
        if not facts["gpus"]:
            return {}
        return {"gpus": [{**gpu, "xid": self._xids.last(gpu["bus"]) if self._xids else None} for gpu in facts["gpus"]]}


class _Patient:
    """Calls what may hang, in a thread of its own, and never a second time while it does."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._found: tuple[Any, list[str]] = (None, [])

    def ask(self, what: str) -> tuple[Any, list[str]]:
        """Return what the call returned, else None, and a sentence on what is wrong with it, if anything is."""
        if self._thread is None or not self._thread.is_alive():
            self._began = time.monotonic()
            self._thread = threading.Thread(target=self._work, name=what, daemon=True)
            self._thread.start()
            self._thread.join(PATIENCE_SECONDS)
        if self._thread.is_alive():
            return None, [f"{what} has not answered for {time.monotonic() - self._began:.0f} s"]
        found, problems = self._found
        return found, [f"{what}: {problem}" for problem in problems]

    def _work(self) -> None:
        try:
            self._found = self._call(), []
        except OSError as error:
            self._found = None, [error.strerror or str(error)]
        except Exception as error:
            self._found = None, [f"{type(error).__name__}: {error}"]
