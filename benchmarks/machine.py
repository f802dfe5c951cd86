"""What a measurement ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(*more: str) -> str:
    """Return processor, usable cores, load, system and Python, and `more`."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    system = f"{platform.system()} {platform.release()}"
    return ", ".join([f"{cpu}, {cores} cores (load {load})", system, f"Python {platform.python_version()}", *more])


if __name__ == "__main__":
    print(describe())
