"""The node agent: starts the ranks of one attempt on one node, watches them, stops them, and leaves a record.

It is written to the node as one archive and needs the standard library alone: `python -I -S agent.pyz FOLDER`, where
FOLDER holds `job.json`. It detaches itself, so that nothing hangs on the connection that started it. Its children die
with it, and its undertaker ends what they leave behind. In FOLDER it leaves `agent.json` (who it is, before it starts
anything), `heartbeat.json` (every second), the ranks' logs, and at last `exit.json` (how it ended).

    USR1  asks the ranks to stop at the end of their step, with a checkpoint
    TERM  ends them at once
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import secrets
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cluster.node import leases
from engine.cluster.node.documents import write_json
from engine.cluster.node.exit_record import free_bytes, leave_record, log_tail, take_room, unstarted_record
from engine.cluster.node.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    boot_id,
    prctl,
    process,
    process_start,
)
from engine.cluster.node.rank_environment import environment, slot_numbers
from engine.cluster.node.remains import MARK_VARIABLE, Traces, end_all
from engine.cluster.node.undertaker import Undertaker, hire_undertaker, serve
from engine.telemetry.progress import FOLDER_VARIABLE, progress_file, read_progress

ALREADY_STARTED = 75  # exit code: this attempt was started here before, and is never started twice
HEARTBEAT_SECONDS = 1.0
SECOND_TERM_SECONDS = 0.5  # a trainer takes the first TERM as a wish and the second as an order
KILL_SECONDS = 8.0
START_RECORD_SECONDS = 3.0  # for the record of a start that failed
SWEEP_SECONDS = 10.0  # a process that has not died by then waits for a device
FRESH_SECONDS = 600.0  # between two touches of the leases' files
MOST_REAPED = 1000  # at a time
_INTERRUPTED = 130  # exit code of a rank that stopped at a checkpoint, as it was asked to
_EXEC_FAILED = 127


@dataclass
class _Rank:
    """A rank that was started; also the number of its process group."""

    number: int
    slot: int
    pid: int
    ended: int | None = None  # exit code, or minus the signal
    used: tuple[float, float] | None = None  # at the last heartbeat: monotonic seconds, and CPU seconds until then


class Agent:
    """The ranks of one attempt on one node, from start to record. Single-threaded: children die with their thread.

    Arguments:
        folder: of the node, for all that it leaves.
        job: what is to run.
        traces: by which the processes of the attempt are known; by default new ones.
        undertaker: that waits already; by default it hires one.
        held: descriptors of the leases of its slots.
    """

    def __init__(
        self,
        folder: Path,
        job: Mapping[str, Any],
        *,
        traces: Traces | None = None,
        undertaker: Undertaker | None = None,
        held: Sequence[int] = (),
    ) -> None:
        self._folder, self._job, self._held = folder.absolute(), job, list(held)
        self._traces = traces or Traces(self._folder, secrets.token_hex(16))
        self._hired = undertaker
        self._ranks: list[_Rank] = []
        self._first: _Rank | None = None  # the first that failed
        self._wish: str | None = None  # the last signal that came
        self._told: str | None = None  # what the ranks were told
        self._told_at = 0.0
        self._terms = 0
        self._beat_at = -math.inf
        self._fresh_at = time.monotonic()
        self._wakeup, self._alarm = os.pipe()

    def start(self) -> None:
        """Take over the signals, say who this is, and start the ranks.

        Raises:
            OSError, ValueError: if it cannot; then `abandon` it.
        """
        for end in (self._wakeup, self._alarm):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._hear)
        signal.signal(signal.SIGTERM, self._hear)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._undertaker = self._hired or hire_undertaker(self._traces, self._held)
        take_room(self._folder)
        identity = {"pid": os.getpid(), "started": process_start(os.getpid()), "host": socket.gethostname()}
        if self._held:
            holder = {**self._job.get("holder", {}), **identity, "since": time.time()}
            leases.sign(self._held, holder, share=bool(self._job.get("share")))
        traces = {"mark": self._traces.mark, "session": self._traces.session}
        slots = slot_numbers(self._job)
        environments = [environment(self._job, rank, os.environ) for rank in self._job["ranks"]]
        write_json(self._folder / "agent.json", {**identity, "boot_id": boot_id(), "time": time.time(), **traces})
        for rank, slot, environ in zip(self._job["ranks"], slots, environments):  # noqa: B905, for Python 3.9
            self._ranks.append(_Rank(int(rank["rank"]), slot, self._spawn(rank, environ)))

    def watch(self) -> None:
        """Stay until no rank is left, and leave the record."""
        while any(rank.ended is None for rank in self._ranks):
            self._beat()
            wait = min(HEARTBEAT_SECONDS, SECOND_TERM_SECONDS) if self._told == "TERM" else HEARTBEAT_SECONDS
            ready, _, _ = select.select([self._wakeup, self._undertaker.line.fileno()], [], [], wait)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 4096)
            if self._undertaker.line.fileno() in ready and self._undertaker.has_died():
                self._undertaker.line.close()
                self._undertaker = hire_undertaker(self._traces, self._held)
            self._reap()
            self._steer()
        left = self.abandon()
        leave_record(self._folder, {**self._record(), "left": left})

    def abandon(self) -> int:
        """End what was started, and let the leases go; return how many processes do not die: they wait for a device."""
        left = self._sweep()
        if not left:
            self._undertaker.free_leases()
        # Else the undertaker holds the slots until the device lets go of those processes.
        leases.release(self._held)
        return left

    def _hear(self, number: int, _frame: object) -> None:
        if self._wish != "TERM":
            self._wish = "TERM" if number == signal.SIGTERM else "USR1"

    def _spawn(self, rank: Mapping[str, Any], environ: dict[str, str]) -> int:
        log = os.open(self._folder / f"rank-{rank['rank']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        environ = environ | {MARK_VARIABLE: self._traces.mark, FOLDER_VARIABLE: str(self._folder)}
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.close(log)
            return pid
        try:
            os.setpgid(0, 0)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(_EXEC_FAILED)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            for lease in self._held:
                os.set_inheritable(lease, True)
            os.chdir(self._job["cwd"])
            argv = [str(word) for word in self._job["argv"]]
            os.execvpe(argv[0], argv, environ)
        except OSError as error:
            os.write(2, f"error: {self._job['argv'][0]} cannot be started: {error.strerror}\n".encode())
        finally:
            os._exit(_EXEC_FAILED)

    def _reap(self) -> None:
        by_pid = {rank.pid: rank for rank in self._ranks}
        for _ in range(MOST_REAPED):  # orphans that come without end must not keep it from the rest
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            rank = by_pid.get(pid)
            if rank is not None:
                rank.ended = os.waitstatus_to_exitcode(status)
                if rank.ended not in (0, _INTERRUPTED) and self._first is None and self._told != "TERM":
                    self._first = rank

    def _steer(self) -> None:
        """Tell the ranks what is due: a gang lives and dies together."""
        wanted = "TERM" if self._first is not None else self._wish
        now = time.monotonic()
        if wanted == "TERM":
            if self._told != "TERM":
                self._terms, self._told_at = 0, now
            age = now - self._told_at
            if age >= KILL_SECONDS:
                self._tell(signal.SIGKILL)
            elif self._terms == 0 or (self._terms == 1 and age >= SECOND_TERM_SECONDS):
                self._terms += 1
                self._tell(signal.SIGTERM)
        elif wanted == "USR1" and self._told is None:
            self._tell(signal.SIGUSR1, group=False)
        self._told = wanted

    def _tell(self, number: int, *, group: bool = True) -> None:
        for rank in self._ranks:
            if rank.ended is None:
                with contextlib.suppress(ProcessLookupError):
                    (os.killpg if group else os.kill)(rank.pid, number)
                    if number == signal.SIGTERM:
                        os.killpg(rank.pid, signal.SIGCONT)  # one that is stopped hears nothing

    def _sweep(self) -> int:
        """End what the ranks left behind: their groups, and all that is known to be of the attempt."""
        for rank in self._ranks:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(rank.pid, signal.SIGKILL)
        spared = (self._undertaker.pid,)
        _, left = end_all(self._traces, roots=(os.getpid(),), spared=spared, seconds=SWEEP_SECONDS, buries=True)
        return left

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beat_at < HEARTBEAT_SECONDS:
            return
        self._beat_at = now
        if self._is_superseded():
            self._wish = "TERM"
        if now - self._fresh_at > FRESH_SECONDS:
            self._fresh_at = now
            leases.keep_fresh(self._held)
        living = {rank.number: self._standing(rank) for rank in self._ranks if rank.ended is None}
        ended = {rank.number: rank.ended for rank in self._ranks if rank.ended is not None}
        pulse = {"time": time.time(), "undertaker": self._undertaker.pid, "ranks": living, "ended": ended}
        # A disk that is full now may not be so later; the companion sees that the file grows old.
        with contextlib.suppress(OSError):
            write_json(self._folder / "heartbeat.json", pulse, durable=False)

    def _is_superseded(self) -> bool:
        """Whether a later attempt has come to this run directory: this one was given up while nobody could reach it."""
        attempt = self._folder.parent
        number = attempt.name.rpartition("-")[2]
        return number.isdigit() and (attempt.parent / f"attempt-{int(number) + 1}").exists()

    def _standing(self, rank: _Rank) -> dict[str, Any]:
        found, progress = process(rank.pid), read_progress(progress_file(self._folder, rank.number))
        percent, now = None, time.monotonic()
        if found is not None:
            if rank.used is not None and now > rank.used[0]:
                percent = round(100 * (found.cpu_seconds - rank.used[1]) / (now - rank.used[0]))
            rank.used = (now, found.cpu_seconds)
        return {
            "pid": rank.pid,
            "slot": rank.slot,
            "state": found.state if found is not None else None,
            "cpu_percent": percent,
            "resident_bytes": found.resident_bytes if found is not None else None,
            "step": progress.step if progress is not None else None,
            "phase": progress.phase if progress is not None else None,
            "ago": round(time.monotonic() - progress.at, 3) if progress is not None else None,
        }

    def _record(self) -> dict[str, Any]:
        codes = [rank.ended for rank in self._ranks]
        if self._first is not None:
            why = "rank_failed"
        elif self._told == "TERM":
            why = "stopped"
        else:
            why = "interrupted" if _INTERRUPTED in codes else "ok"
        first = None
        if self._first is not None and self._first.ended is not None:
            code = self._first.ended
            progress = read_progress(progress_file(self._folder, self._first.number))
            first = {
                "rank": self._first.number,
                "slot": self._first.slot,
                "host": socket.gethostname(),
                "step": progress.step if progress is not None else None,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "disk_free_bytes": free_bytes(self._folder),
                "tail": log_tail(self._folder / f"rank-{self._first.number}.log"),
            }
        ended = {rank.number: rank.ended for rank in self._ranks}
        return {"why": why, "time": time.time(), "first": first, "ranks": ended}


def _take_slots(folder: Path, job: Mapping[str, Any]) -> list[int] | None:
    """Return descriptors of the leases that the job wants; None, and leave the record, if others hold them.

    Raises:
        OSError: if leases cannot be had at all.
    """
    if not job.get("leases"):
        return []
    held, taken = leases.take(slot_numbers(job), share=bool(job.get("share")))
    if not taken:
        return held
    named = {str(slot): holder for slot, holder in taken.items()}
    record = {"why": "slots_taken", "time": time.time(), "first": None, "ranks": {}, "taken": named}
    if not leave_record(folder, record, seconds=START_RECORD_SECONDS):
        raise OSError(f"slots are taken, and that cannot be written to {folder}")
    return None


def _could_not_start(folder: Path, job: Mapping[str, Any], error: Exception) -> bool:
    """Leave the record of a start that failed; return whether it is there."""
    record = unstarted_record(int(job["ranks"][0]["rank"]), f"the agent could not start: {error}")
    return leave_record(folder, record, seconds=START_RECORD_SECONDS)


def claim(folder: Path) -> bool:
    """Take a node's share of an attempt for this process and those it forks; False if it was started before."""
    lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return not ((folder / "agent.json").exists() or (folder / "exit.json").exists())


def main(folder: Path) -> int:
    """Start the attempt in `folder` unless that was done before; return once it has started, as a process apart."""
    if not claim(folder):
        return ALREADY_STARTED
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    try:
        held = _take_slots(folder, job)
    except OSError as error:
        if _could_not_start(folder, job, error):
            return 0
        raise
    if held is None:
        return 0
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        answer = os.read(ready, 4096)
        if answer == b"+":
            return 0
        sys.stderr.write(answer.decode("utf-8", "replace"))
        return 1
    os.close(ready)
    os.setsid()
    log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    traces = Traces(folder.absolute(), secrets.token_hex(16), os.getpid())
    near, far = socket.socketpair()
    if os.fork():
        # The undertaker is the agent's parent, and so becomes that of the agent's orphans.
        os.close(told)
        near.close()
        serve(far, traces, held)
        return 0
    far.close()
    os.setpgid(0, 0)
    agent = Agent(folder, job, traces=traces, undertaker=Undertaker(os.getppid(), near), held=held)
    try:
        agent.start()
    except (OSError, ValueError) as error:
        agent.abandon()
        os.write(told, b"+" if _could_not_start(folder, job, error) else f"{error}\n".encode())
        return 1
    os.write(told, b"+")
    os.close(told)
    agent.watch()
    return 0
