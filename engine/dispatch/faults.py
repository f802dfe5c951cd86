"""Which failures are the cluster's and not the run's, and how long to wait before another try. Pure."""

from __future__ import annotations

import re
import signal

from engine.dispatch.observation import RankEnd

PAUSES_SECONDS = (5.0, 30.0, 120.0, 300.0)  # before the first, second, … new try; the last one stays

# What torch, gloo, NCCL, CUDA and the kernel say when a peer, a link or a device is gone.
_NETWORK = re.compile(
    r"Connection (?:closed|reset) by peer|Connection refused|Broken pipe|No route to host|Network is unreachable"
    r"|connectFullMesh failed|Gloo .*(?:[Tt]imed out|failed)|Timed out (?:waiting|after)"
    r"|Dist(?:Network|Store|Backend)Error"
    r"|client socket has timed out|NCCL (?:error|WARN|timeout)|ncclSystemError|ncclRemoteError|ncclInternalError"
    r"|unhandled (?:system|cuda) error, NCCL|remote process exited|Watchdog caught collective operation timeout"
    r"|Stale file handle|Transport endpoint is not connected"
)
_DEVICE = re.compile(
    r"uncorrectable ECC|fallen off the bus|CUDA error: (?:unspecified launch failure|device-side hardware)"
    r"|Unable to determine the device handle|NVLink error|Xid"
)


def lost_its_peers(end: RankEnd) -> bool:
    """Whether a rank failed because it could not talk to another one: the cause is there, or between them."""
    return end.code not in (None, 0) and _NETWORK.search(_last_lines(end.tail)) is not None


def of_the_cluster(end: RankEnd) -> bool:
    """Whether a rank's end is a fault of nodes, links or devices: another try may well go on.

    A rank that was killed counts: nobody but the kernel, an administrator or a scheduler sends SIGKILL.
    """
    if end.signal is not None:
        return end.signal in (signal.SIGKILL, signal.SIGBUS)
    return lost_its_peers(end) or _DEVICE.search(_last_lines(end.tail)) is not None


def pause_seconds(faults: int) -> float:
    """Return the seconds to wait after the n-th fault in a row, n from 1."""
    return PAUSES_SECONDS[min(faults, len(PAUSES_SECONDS)) - 1]


def _last_lines(tail: str, lines: int = 40) -> str:
    return "\n".join(tail.splitlines()[-lines:])
