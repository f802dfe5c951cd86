"""Processes of this machine: who they are, whether they live, what they left behind."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Process:
    """A process at a moment."""

    pid: int
    state: str  # R, S, D, T, Z, …, as in proc(5)
    parent: int
    session: int
    start: str  # as `process_start` tells it
    cpu_seconds: float  # that it has used, all threads together
    resident_bytes: int  # of memory, what it shares with others included

    @property
    def lives(self) -> bool:
        """Whether it is more than a zombie."""
        return self.state not in "ZX"


def process(pid: int) -> Process | None:
    """Return a process, a zombie too; None if there is none, or where there is no /proc."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123, a Path takes twice as long
            fields = file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return None
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    resident = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return Process(pid, fields[0], int(fields[1]), int(fields[3]), fields[19], seconds, resident)


def all_processes() -> Iterator[Process]:
    """Yield all processes, zombies too, by id; none where there is no /proc."""
    try:
        numbers = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())  # noqa: PTH208
    except OSError:
        return
    for number in numbers:
        found = process(number)
        if found is not None:
            yield found


def process_start(pid: int) -> str | None:
    """Return a mark of when a living process began, or None if there is none, or only its zombie is left."""
    if sys.platform != "linux":
        shown = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.strip() or None
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def boot_id() -> str:
    """Return a mark that changes when the machine starts anew."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2)); nothing where that is unknown."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
