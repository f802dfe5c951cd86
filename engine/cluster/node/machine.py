"""How busy this machine is, from /proc: read twice, the difference is what happened between."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Traffic on these is either none of the network's, or counted a second time on a card of the machine.
_NOT_THE_NETWORK = ("lo", "docker", "veth", "br-", "virbr", "cni", "flannel", "cali")
_CPU_IDLE, _CPU_WAITING = 3, 4  # columns of /proc/stat
_CPU_TIMES = 8  # user to steal; what guests use is counted in user already


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted since the machine started."""

    at: float  # monotonic seconds
    busy: int | None  # clock ticks of all cores
    total: int | None
    received: int | None  # bytes
    sent: int | None

    @classmethod
    def now(cls) -> Counters:
        """Read them."""
        busy, total = cpu_times(_read("/proc/stat"))
        received, sent = network_bytes(_read("/proc/net/dev"))
        return cls(time.monotonic(), busy, total, received, sent)


def rates(before: Counters, after: Counters) -> dict[str, Any]:
    """Return `percent` of the CPU that was used and the bytes a second of the network, as far as they are known."""
    found: dict[str, Any] = {}
    if before.busy is not None and after.busy is not None and before.total is not None and after.total is not None:
        ticks = after.total - before.total
        if ticks > 0:
            found["percent"] = round(max(0.0, min(100.0, 100.0 * (after.busy - before.busy) / ticks)), 1)
    seconds = after.at - before.at
    if seconds > 0:
        for name, start, end in (("in", before.received, after.received), ("out", before.sent, after.sent)):
            if start is not None and end is not None and end >= start:  # an interface may have gone
                found[f"{name}_bytes_per_second"] = round((end - start) / seconds)
    return found


def cpu_times(stat: str) -> tuple[int | None, int | None]:
    """Return busy and total clock ticks from the text of /proc/stat."""
    words = stat.split("\n", 1)[0].split()
    if not words or words[0] != "cpu":
        return None, None
    ticks = [int(word) for word in words[1 : _CPU_TIMES + 1]]
    return sum(ticks) - ticks[_CPU_IDLE] - ticks[_CPU_WAITING], sum(ticks)


def network_bytes(dev: str) -> tuple[int | None, int | None]:
    """Return bytes received and sent by the network cards from the text of /proc/net/dev."""
    received = sent = None
    for line in dev.splitlines()[2:]:
        name, _, numbers = line.partition(":")
        if not name.strip().startswith(_NOT_THE_NETWORK):
            words = numbers.split()
            received = (received or 0) + int(words[0])
            sent = (sent or 0) + int(words[8])
    return received, sent


def memory(meminfo: str) -> dict[str, int]:
    """Return bytes used and in all from the text of /proc/meminfo; used is what programs cannot get."""
    kibibytes = {}
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        kibibytes[name] = rest.split()[:1]
    try:
        total, free = int(kibibytes["MemTotal"][0]) * 1024, int(kibibytes["MemAvailable"][0]) * 1024
    except (KeyError, IndexError, ValueError):
        return {}
    return {"used_bytes": total - free, "total_bytes": total}


def memory_now() -> dict[str, int]:
    """Return how much memory is used here."""
    return memory(_read("/proc/meminfo"))


def load() -> list[float] | None:
    """Return the load averages over 1, 5 and 15 minutes."""
    with contextlib.suppress(OSError, AttributeError):
        return [round(value, 2) for value in os.getloadavg()]
    return None


def cores() -> int:
    """Return how many cores programs may use here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def space(path: Path) -> dict[str, Any]:
    """Return bytes free and in all of the file system that a path is on, or will be. Raises OSError."""
    path = path.expanduser().absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    found = os.statvfs(path)
    return {
        "path": str(path),
        "free_bytes": found.f_bavail * found.f_frsize,
        "total_bytes": found.f_blocks * found.f_frsize,
    }


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="replace")
    return ""
