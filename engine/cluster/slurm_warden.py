"""Runs one daemon of the Slurm testbed, and ends it with all that it started when standard input ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

from engine.cluster.node.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    children_of,
    prctl,
    process_start,
)

_END_SECONDS = 30.0


def end_descendants(warden: int) -> None:
    """Kill all processes below a warden. The children of whatever ends become the warden's own."""
    deadline = time.monotonic() + _END_SECONDS
    while time.monotonic() < deadline:
        left = [pid for pid in children_of(warden) if process_start(pid) is not None]
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


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
