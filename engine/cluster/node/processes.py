"""Processes of this machine: who they are, whether they live, what they left behind."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


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


def children_of(parent: int) -> list[int]:
    """Return the processes, zombies too, whose parent this is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(entry.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (prctl(2)); nothing where that is unknown."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)
