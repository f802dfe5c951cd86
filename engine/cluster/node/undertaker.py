"""The undertaker of an attempt on a node: when the agent is killed, it ends all that the agent started.

Ranks die with their agent (prctl(2)), but their children do not. The undertaker waits at one end of a socket whose
other end the agent alone holds; nothing can kill an agent without the undertaker seeing it. It holds the leases too, so
that slots are free only when it has done its work. The agent replaces an undertaker that is killed. What remains when
both are killed at once is for `sweeping`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from engine.cluster.node.exit_record import killed_record, leave_record, read_record
from engine.cluster.node.processes import PR_SET_CHILD_SUBREAPER, prctl
from engine.cluster.node.remains import Traces, end_all

_FREE = b"f"  # nothing is left: let the leases go
_FREED = b"F"
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True)
class Undertaker:
    """An undertaker as its agent knows it."""

    pid: int
    line: socket.socket  # at its end when the undertaker has died

    def has_died(self) -> bool:
        """Whether the end of the line was reached. Call it when the line can be read."""
        try:
            return not self.line.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def free_leases(self) -> None:
        """Have it let the leases go, and wait until it has; it may be dead."""
        with contextlib.suppress(OSError):
            self.line.settimeout(_ANSWER_SECONDS)
            self.line.send(_FREE)
            self.line.recv(64)


def hire_undertaker(traces: Traces, leases: Sequence[int]) -> Undertaker:
    """Start an undertaker as a child of this process, which is the agent."""
    near, far = socket.socketpair()
    pid = os.fork()
    if pid:
        far.close()
        return Undertaker(pid, near)
    try:
        near.close()
        serve(far, traces, leases)
    finally:
        os._exit(0)
    raise AssertionError  # a forked process never comes here


def serve(line: socket.socket, traces: Traces, leases: Sequence[int]) -> None:
    """Be the undertaker until the agent has died, and what it left too."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # As the parent of an agent it becomes that of all that the agent leaves behind.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    held = list(leases)
    while True:
        try:
            heard = line.recv(64)
        except OSError:
            heard = b""
        if not heard:
            break
        if _FREE in heard:
            _close(held)
            with contextlib.suppress(OSError):
                line.send(_FREED)
    killed, _ = end_all(traces, roots=(os.getpid(),), buries=True)
    _close(held)
    if read_record(traces.folder) is None:
        leave_record(traces.folder, killed_record(killed))


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())
