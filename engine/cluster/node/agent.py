"""The node agent: starts the ranks of one attempt on one node, watches them, stops them, and leaves a record.

It is written to the node as one archive and needs the standard library alone: `python -I -S agent.pyz FOLDER`, where
FOLDER holds `job.json`. It detaches itself, so that nothing hangs on the connection that started it. Its children die
with it. In FOLDER it leaves `agent.json` (who it is, before it starts anything), `heartbeat.json` (every second), the
ranks' logs, and at last `exit.json` (how it ended; absent when it was killed).

    USR1  asks the ranks to stop at the end of their step, with a checkpoint
    TERM  ends them at once
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cluster.node.documents import write_json
from engine.cluster.node.processes import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    boot_id,
    children_of,
    prctl,
    process_start,
)

ALREADY_STARTED = 75  # exit code: this attempt was started here before, and is never started twice
HEARTBEAT_SECONDS = 1.0
SECOND_TERM_SECONDS = 0.5  # a trainer takes the first TERM as a wish and the second as an order
KILL_SECONDS = 8.0
TAIL_BYTES = 4096
_INTERRUPTED = 130  # exit code of a rank that stopped at a checkpoint, as it was asked to
_EXEC_FAILED = 127
_SIOCGIFADDR = 0x8915


def interface_towards(address: str) -> str | None:
    """Return the network interface by which this machine reaches an address; None if it cannot be told."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))  # a datagram socket: this sends nothing
            own = probe.getsockname()[0]
            for _, name in socket.if_nameindex():
                request = struct.pack("256s", name.encode()[:15])
                try:
                    answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                except OSError:
                    continue
                held = socket.inet_ntoa(answer[20:24])
                # All of 127.0.0.0/8 is the loopback interface, whose own address is 127.0.0.1.
                if held == own or (held.startswith("127.") and own.startswith("127.")):
                    return name
    except OSError:
        pass
    return None


def environment(job: Mapping[str, Any], rank: Mapping[str, Any], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a rank: DeepSpeed's contract, and what only the node itself can know."""
    slots = len(job["ranks"])
    given = {
        "RANK": rank["rank"],
        "LOCAL_RANK": rank["local_rank"],
        "WORLD_SIZE": job["world_size"],
        "LOCAL_WORLD_SIZE": slots,
        "LOCAL_SIZE": slots,
        "CROSS_RANK": job["node"],
        "CROSS_SIZE": job["nodes"],
        "MASTER_ADDR": job["master_address"],
        "MASTER_PORT": job["master_port"],
        "PYTHONUNBUFFERED": 1,
        **job["env"],
    }
    found: dict[str, str] = dict(inherited)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found.setdefault("OMP_NUM_THREADS", str(job["threads"] or max(1, cores // slots)))
    if job["threads"]:
        found["OMP_NUM_THREADS"] = str(job["threads"])
    interface = job["interface"] or interface_towards(job["master_address"])
    if interface:
        found.setdefault("GLOO_SOCKET_IFNAME", interface)
        found.setdefault("NCCL_SOCKET_IFNAME", interface)
    if Path("/dev/nvidia0").exists():
        found.setdefault("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(slots))))
    else:
        # Idle threads that spin slow each other down as soon as a core has two of them.
        found.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        found.setdefault("GOMP_SPINCOUNT", "0")
    return found | {name: str(value) for name, value in given.items()}


@dataclass
class _Rank:
    """A rank that was started; also the number of its process group."""

    number: int
    pid: int
    ended: int | None = None  # exit code, or minus the signal


class Agent:
    """The ranks of one attempt on one node, from start to record. Single-threaded: children die with their thread."""

    def __init__(self, folder: Path, job: Mapping[str, Any]) -> None:
        self._folder, self._job = folder, job
        self._ranks: list[_Rank] = []
        self._first: _Rank | None = None  # the first that failed
        self._wish: str | None = None  # the last signal that came
        self._told: str | None = None  # what the ranks were told
        self._told_at = 0.0
        self._terms = 0
        self._beat_at = 0.0
        self._wakeup, self._alarm = os.pipe()

    def start(self) -> None:
        """Take over the signals, say who this is, and start the ranks."""
        for end in (self._wakeup, self._alarm):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._alarm, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, self._hear)
        signal.signal(signal.SIGTERM, self._hear)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        identity = {"pid": os.getpid(), "started": process_start(os.getpid()), "boot_id": boot_id()}
        write_json(self._folder / "agent.json", identity | {"time": time.time(), "host": socket.gethostname()})
        for rank in self._job["ranks"]:
            self._ranks.append(_Rank(int(rank["rank"]), self._spawn(rank)))

    def watch(self) -> None:
        """Stay until no rank is left, and leave the record."""
        while any(rank.ended is None for rank in self._ranks):
            self._beat()
            wait = min(HEARTBEAT_SECONDS, SECOND_TERM_SECONDS) if self._told == "TERM" else HEARTBEAT_SECONDS
            select.select([self._wakeup], [], [], wait)
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup, 4096)
            self._reap()
            self._steer()
        self._sweep()
        write_json(self._folder / "exit.json", self._record())

    def _hear(self, number: int, _frame: object) -> None:
        if self._wish != "TERM":
            self._wish = "TERM" if number == signal.SIGTERM else "USR1"

    def _spawn(self, rank: Mapping[str, Any]) -> int:
        log = os.open(self._folder / f"rank-{rank['rank']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        environ = environment(self._job, rank, os.environ)
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
            os.chdir(self._job["cwd"])
            argv = [str(word) for word in self._job["argv"]]
            os.execvpe(argv[0], argv, environ)
        except OSError as error:
            os.write(2, f"error: {self._job['argv'][0]} cannot be started: {error.strerror}\n".encode())
        finally:
            os._exit(_EXEC_FAILED)

    def _reap(self) -> None:
        by_pid = {rank.pid: rank for rank in self._ranks}
        while True:
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

    def _sweep(self) -> None:
        """End what the ranks left behind: their groups, and orphans, which this process has inherited."""
        for rank in self._ranks:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(rank.pid, signal.SIGKILL)
        for pid in children_of(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _beat(self) -> None:
        now = time.time()
        if now - self._beat_at < HEARTBEAT_SECONDS:
            return
        self._beat_at = now
        alive = {rank.number: rank.pid for rank in self._ranks if rank.ended is None}
        ended = {rank.number: rank.ended for rank in self._ranks if rank.ended is not None}
        try:
            write_json(self._folder / "heartbeat.json", {"time": now, "alive": alive, "ended": ended})
        except OSError as error:
            print(f"the heartbeat cannot be written: {error}", flush=True)

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
            first = {
                "rank": self._first.number,
                "code": code if code >= 0 else None,
                "signal": -code if code < 0 else None,
                "tail": _tail(self._folder / f"rank-{self._first.number}.log"),
            }
        ended = {rank.number: rank.ended for rank in self._ranks}
        return {"why": why, "time": time.time(), "first": first, "ranks": ended}


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def main(folder: Path) -> int:
    """Start the attempt in `folder` unless that was done before; return once it has started, as a process apart."""
    lock = os.open(folder / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ALREADY_STARTED
    if (folder / "agent.json").exists():
        return ALREADY_STARTED
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    ready, told = os.pipe()
    if os.fork():
        os.close(told)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    os.setsid()
    log = os.open(folder / "agent.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    agent = Agent(folder, job)
    agent.start()
    os.write(told, b"+")
    os.close(told)
    agent.watch()
    return 0
