"""What is left of an attempt on this machine, and its end.

A process belongs to an attempt if it carries its mark in its environment, writes into one of its logs, was started by
one that does, or is in a session that one of them leads: data loaders and compilers make sessions of their own, some
programs write over their environment, others send their output elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.cluster.node.processes import Process, all_processes

MARK_VARIABLE = "PLUMBLINE_ATTEMPT"
_LOG = re.compile(r"(agent|rank-\d+)\.log( \(deleted\))?")


@dataclass(frozen=True)
class Traces:
    """How the processes of an attempt are known on a node."""

    folder: Path  # where its agent works
    mark: str  # the value of MARK_VARIABLE in the environment of its ranks; empty: not known
    session: int | None = None  # that its agent made; whoever led it may have died

    def processes(
        self, roots: Collection[int] = (), spared: Collection[int] = (), others: set[tuple[int, str]] | None = None
    ) -> Iterator[Process]:
        """Yield the living processes of the attempt, each as soon as it is known, before it can make more.

        Args:
            roots: processes of it, by id.
            spared: processes that are left out, by id.
            others: id and start of processes that bear no trace of it; grows by those that were looked at, so that
                the next look is a quick one.
        """
        spare = {*spared, os.getpid()}
        folder = os.path.realpath(self.folder)
        others = set() if others is None else others
        # The first time, who descends from whom is read before anybody is killed and his children get another parent.
        everybody: Iterable[Process] = all_processes() if others else list(all_processes())
        table: dict[int, Process] = {}
        found: set[int] = set()
        for process in everybody:
            table[process.pid] = process
            key = process.pid, process.start
            if process.pid in roots:
                found.add(process.pid)
            elif key not in others and process.lives:
                if self._marked(process.pid) or _writes_into(folder, process.pid):
                    found.add(process.pid)
                else:
                    others.add(key)
            if process.pid in found and process.pid not in spare and process.lives:
                yield process
        # Only as long as it is sure that the number was not given to another session since.
        session = self.session if any(table[pid].session == self.session for pid in found) else None
        grows = True
        while grows:
            more = [
                process
                for process in table.values()
                if process.pid not in found
                and (process.parent in found or process.session in found or process.session == session)
            ]
            found |= {process.pid for process in more}
            yield from (process for process in more if process.pid not in spare and process.lives)
            grows = bool(more)

    def _marked(self, pid: int) -> bool:
        if not self.mark:
            return False
        try:
            environ = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            return False
        return f"{MARK_VARIABLE}={self.mark}".encode() in environ.split(b"\0")


def end_all(
    traces: Traces,
    *,
    roots: Collection[int] = (),
    spared: Collection[int] = (),
    seconds: float | None = None,
    buries: bool = False,
) -> tuple[int, int]:
    """Kill the processes of an attempt until none is left; return how many were killed, and how many are left.

    What this user may not signal is left alone, and not counted.

    Args:
        traces: of the attempt.
        roots: processes of it, by id.
        spared: processes that stay, by id.
        seconds: after which it gives up; None: never.
        buries: this process has no children but theirs, and waits for those that have died.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    killed: set[tuple[int, str]] = set()
    out_of_reach: set[int] = set()
    others: set[tuple[int, str]] = set()
    pause = 0.001
    while True:
        left = 0
        for process in traces.processes(roots, spared, others):
            if process.pid in out_of_reach:
                continue
            left += 1
            try:
                os.kill(process.pid, signal.SIGKILL)
                killed.add((process.pid, process.start))
            except ProcessLookupError:
                pass
            except PermissionError:
                out_of_reach.add(process.pid)
        if not left:
            return len(killed), 0
        if buries:
            for _ in range(len(killed)):
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(-1, os.WNOHANG)
        if deadline is not None and time.monotonic() > deadline:
            return len(killed), left
        time.sleep(pause)
        pause = min(2 * pause, 0.5)


def _writes_into(folder: str, pid: int) -> bool:
    """Whether the output or the errors of a process go into a log in `folder`."""
    for descriptor in (1, 2):
        try:
            where, _, name = os.readlink(f"/proc/{pid}/fd/{descriptor}").rpartition("/")  # noqa: PTH115
        except OSError:
            continue
        if where == folder and _LOG.fullmatch(name):
            return True
    return False
