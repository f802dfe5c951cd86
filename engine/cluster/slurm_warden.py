"""Runs one daemon of the Slurm testbed, and ends it with all that it started when standard input ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable

from engine.cluster.node.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    all_processes,
    prctl,
)

_END_SECONDS = 30.0


def end_descendants(warden: int) -> None:
    """Kill all processes below a warden. The children of whatever ends become the warden's own."""
    deadline = time.monotonic() + _END_SECONDS
    frozen: set[int] = set()
    while frozen != (below := _below(warden)) and time.monotonic() < deadline:
        # All stand still before the first ends, so that none says a last word: as at a power cut.
        _signal(below - frozen, signal.SIGSTOP)
        frozen = below
    while (left := _below(warden)) and time.monotonic() < deadline:
        _signal(left, signal.SIGKILL)
        time.sleep(0.01)


def _below(warden: int) -> set[int]:
    living = [process for process in all_processes() if process.lives]
    found: set[int] = set()
    grows = True
    while grows:
        more = {each.pid for each in living if each.parent in found or each.parent == warden} - found
        found |= more
        grows = bool(more)
    return found


def _signal(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> None:
    """Run the command of the arguments until it ends, or standard input does."""
    # slurmd's jobs are no children of slurmd's: with this they become this process's.
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    # And should this process be killed, then at least the daemon dies with it.
    daemon = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509, there is one thread yet
    )

    def end_with_the_holder() -> None:
        while os.read(0, 1):
            pass
        end_descendants(os.getpid())
        os._exit(0)

    threading.Thread(target=end_with_the_holder, daemon=True).start()
    while os.wait()[0] != daemon.pid:
        pass
    end_descendants(os.getpid())
    os._exit(1)


if __name__ == "__main__":
    main()
