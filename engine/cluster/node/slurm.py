"""Slurm's commands on a login node: an attempt is submitted once, stopped, and watched over the shared file system.

In the folder of the attempt stand `slurm.json` (name and id of its job, written before and after sbatch), `batch.sh`,
`job.json` (what all nodes have in common), `slurm-job` (the job that began, by itself), `meeting.json`, `wish.json`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.cluster.node.documents import write_json, write_text
from engine.cluster.node.launching import expand, with_full_paths
from engine.cluster.node.slurm_task import WISH
from engine.cluster.node.slurm_words import (
    SACCT_FORMAT,
    SQUEUE_FORMAT,
    STOPPED_BY_SLURM,
    Job,
    parse_sacct,
    parse_squeue,
)

RECORD = "slurm.json"
BEGUN = "slurm-job"
COMMAND_SECONDS = 30.0
ASK_SECONDS = 3.0  # between two looks at the queue, for all jobs together
HURRY_SECONDS = 0.5  # when a job is seen to end
LOOK_SECONDS = 0.5  # between two looks at the files of one node, which lie on a network file system
BEAT_SECONDS = 5.0  # an agent whose heartbeat changed within this lives, whatever Slurm says
HOLD_SECONDS = 10.0  # how long a node's bad end waits for Slurm's word on it
SETTLE_SECONDS = 3.0  # how long a record may take to be seen here after its job is over
_SQUEUE = ("squeue", "--noheader", "--all", "--states=all")
_TERMS = (9, 15)  # the signals by which Slurm ends
_NO_ANSWER = re.compile(r"unable to contact|timed out|connection re|temporarily|zero bytes|not responding", re.I)

Tell = Callable[..., None]


class SlurmSilent(OSError):
    """Slurm does not answer; ask again."""


def submit(
    tell: Tell,
    *,
    run_dir: str,
    attempt: int,
    name: str,
    script: str,
    job: Mapping[str, Any],
    python: str,
    commands: str | None = None,
) -> Mapping[str, Any]:
    """Submit an attempt that was laid ready (`stage` of its node 0), unless that was done before.

    Args:
        run_dir: on the file system that login node and nodes share.
        attempt: its number.
        name: of the job; no other attempt has it.
        script: for sbatch.
        job: what the agents of all nodes have in common, as `launching.start` is given it.
        python: of the nodes.
        commands: folder of Slurm's commands; None: they are on the PATH.

    Returns:
        `job`, its id; or `problem`, and `refused` if it is of no use to try again.
    """
    home = expand(run_dir)
    folder = home / f"attempt-{attempt}"
    with _locked(folder):
        record = _read(folder / RECORD)
        try:
            known = _job_of(home, folder, record)
            if known is None:
                write_text(folder / "batch.sh", script)
                write_json(folder / "job.json", with_full_paths(job, home, python))
                record = {"name": name, "job": None, "commands": commands}
                # Whoever comes after an end in the midst of this looks for a job of this name.
                write_json(folder / RECORD, record)
                batch = [f"--chdir={home}", f"attempt-{attempt}/batch.sh"]
                _run(commands, ["sbatch", "--test-only", *batch], home)
                known = _run(commands, ["sbatch", "--parsable", *batch], home).strip().partition(";")[0]
        except SlurmSilent as error:
            return {"problem": str(error), "refused": False}
        except (RuntimeError, FileNotFoundError) as error:
            return {"problem": str(error), "refused": True}
        write_json(folder / RECORD, {**(record or {}), "job": known})
        return {"job": known}


def stop(tell: Tell, *, run_dir: str, attempt: int, name: str) -> Mapping[str, Any]:
    """Stop an attempt: USR1 at a checkpoint, TERM at once. One that waits in the queue leaves it in both cases."""
    home = expand(run_dir)
    folder = home / f"attempt-{attempt}"
    record = _read(folder / RECORD)
    if record is None:
        return {}
    try:
        known = _job_of(home, folder, record)
        if known is None:
            return {}
        if (_read(folder / WISH) or {}).get("signal") not in (name, "TERM"):
            write_json(folder / WISH, {"signal": name, "by": "plumbline"})
        only = ["--state=PENDING"] if name == "USR1" else []
        _run(record["commands"], ["scancel", "--quiet", *only, known], home)
    except (RuntimeError, OSError) as error:
        return {"problem": str(error), "refused": False}
    return {}


def sweep(tell: Tell, *, run_dir: str, attempt: int) -> Mapping[str, Any]:
    """End the job of an attempt, if it lives, and say whether Slurm has ended it (`left` is 0 then)."""
    stopped = stop(tell, run_dir=run_dir, attempt=attempt, name="TERM")
    if stopped:
        return stopped
    record = _read(expand(run_dir) / f"attempt-{attempt}" / RECORD)
    if record is None or record["job"] is None:
        return {"left": 0, "killed": 0}
    try:
        said = _ask(record["commands"], {record["job"]})[record["job"]]
    except (RuntimeError, OSError) as error:
        return {"problem": str(error)}
    return {"left": 0 if said.over else 1, "killed": 0}


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    (folder / "node-0").mkdir(parents=True, exist_ok=True)  # where sbatch opens the job's log
    with (folder / "slurm.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _job_of(home: Path, folder: Path, record: Mapping[str, Any] | None) -> str | None:
    """Return the id of an attempt's job; None if it was never submitted. Raises SlurmSilent, RuntimeError."""
    if record is None:
        return None
    if record["job"] is not None:
        return str(record["job"])
    with contextlib.suppress(OSError):
        begun = (folder / BEGUN).read_text(encoding="utf-8").strip()
        if begun:
            return begun
    listed = _run(
        record["commands"],
        [*_SQUEUE, f"--user={os.getuid()}", f"--name={record['name']}", "--format=%i|%Z"],
        home,
    )
    for line in listed.splitlines():
        job, _, where = line.partition("|")
        if where.strip() == str(home):
            return job.strip()
    return None


def _run(commands: str | None, argv: Sequence[str], folder: Path) -> str:
    """Return what a command prints. Raises FileNotFoundError, SlurmSilent, RuntimeError with its last words."""
    # A dispatcher may itself run in a job, whose variables would become options.
    environ = {key: value for key, value in os.environ.items() if not re.match("(SLURM|SBATCH|SQUEUE|SCANCEL)_", key)}
    if "SLURM_CONF" in os.environ:
        environ["SLURM_CONF"] = os.environ["SLURM_CONF"]
    environ["SLURM_TIME_FORMAT"] = "%s"
    if commands is not None:
        environ["PATH"] = f"{expand(commands)}{os.pathsep}{environ.get('PATH', os.defpath)}"
    try:
        # Found by the PATH of `environ`, which batch scripts inherit, too.
        done = subprocess.run(
            ["/usr/bin/env", *argv],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{argv[0]} did not answer within {COMMAND_SECONDS:.0f} s") from None
    if done.returncode == 127:
        raise FileNotFoundError(f"has no {argv[0]}; name the folder of Slurm's commands with commands= in the hostfile")
    if done.returncode != 0:
        said = " ".join(line.strip() for line in done.stderr.strip().splitlines()[-2:]) or f"code {done.returncode}"
        if _NO_ANSWER.search(said):
            raise SlurmSilent(f"Slurm does not answer: {said}")
        raise RuntimeError(f"Slurm refuses the job: {said}" if argv[0] == "sbatch" else f"{argv[0]} failed: {said}")
    return done.stdout


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found


def _last_words(log: Path) -> str:
    """Return what the log of a job says to be wrong: our own line, or else the first of Slurm's."""
    try:
        lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError:
        return ""
    wrong = [line for line in lines if "error:" in line]
    return next((line for line in wrong if line.startswith("error:")), wrong[0] if wrong else "")[:500]


class Queue:
    """What Slurm says of jobs: one squeue for all of them every few seconds, on a thread, while somebody asks."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._asked: dict[str, tuple[str | None, float]] = {}  # by id: where the commands are, when last asked
        self._changing = threading.Lock()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    def job(self, job: str, commands: str | None) -> Job | None:
        """Return the latest word on a job; None while there is none."""
        with self._changing:
            self._asked[job] = (commands, time.monotonic())
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep_asking, name="squeue", daemon=True)
                self._thread.start()
        return self._jobs.get(job)

    def hurry(self) -> None:
        """Ask at once."""
        self._hurry.set()

    def _keep_asking(self) -> None:
        while True:
            with self._changing:
                old = time.monotonic() - 10 * ASK_SECONDS
                self._asked = {job: asked for job, asked in self._asked.items() if asked[1] > old}
                wanted = dict(self._asked)
                if not wanted:
                    self._thread = None
                    return
            for commands in {asked[0] for asked in wanted.values()}:
                # What is over stays so; nobody needs to be asked again.
                jobs = {job for job, asked in wanted.items() if asked[0] == commands and not self._over(job)}
                with contextlib.suppress(OSError, RuntimeError):  # it will answer again
                    if jobs:
                        self._jobs.update(_ask(commands, jobs))
            time.sleep(HURRY_SECONDS)
            self._hurry.wait(ASK_SECONDS - HURRY_SECONDS)
            self._hurry.clear()

    def _over(self, job: str) -> bool:
        known = self._jobs.get(job)
        return known is not None and known.over


def _ask(commands: str | None, jobs: set[str]) -> dict[str, Job]:
    """Return the jobs as the queue, or else the accounting, knows them. Raises OSError, RuntimeError."""
    home = Path("/")
    # Not --jobs=…: one id that it no longer knows is an error then.
    squeue = [*_SQUEUE, f"--user={os.getuid()}", f"--format={SQUEUE_FORMAT}"]
    found = {job: said for job, said in parse_squeue(_run(commands, squeue, home)).items() if job in jobs}
    missing = sorted(jobs - found.keys())
    if missing:
        # It ended a while ago.
        sacct = ["sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={','.join(missing)}"]
        with contextlib.suppress(RuntimeError, FileNotFoundError):  # many clusters keep no accounts
            found.update(parse_sacct(_run(commands, [*sacct, f"--format={SACCT_FORMAT}"], home)))
        for job in missing:
            found.setdefault(job, Job(job, "FORGOTTEN"))
    return found


@dataclass
class _Seen:
    """What was seen of one node's folder. Times by this machine's own clock, for those of the nodes may differ."""

    looked: float = float("-inf")
    answer: tuple[str, Any, dict[str, Any] | None] = ("unknown", None, None)
    beat: bytes | None = None
    beat_at: float = float("-inf")  # when the heartbeat was seen to change
    exit_at: float | None = None
    over_at: float | None = None  # since when neither Slurm nor the heartbeat says that it lives


class Watch:
    """Where the agents of Slurm's jobs stand, from their files and Slurm's word. Of one thread."""

    def __init__(self, queue: Queue | None = None) -> None:
        self._queue = queue or Queue()
        self._seen: dict[Path, _Seen] = {}

    @staticmethod
    def concerns(folder: Path) -> bool:
        """Whether the attempt of a node folder is Slurm's."""
        return (folder.parent / RECORD).exists()

    def forget(self, folder: Path) -> None:
        """Drop what was seen of a node folder."""
        self._seen.pop(folder, None)

    def where(self, folder: Path) -> tuple[str, Any, dict[str, Any] | None]:
        """Return where the agent of a node folder stands, its exit record if it left one, and Slurm's job.

        The phases are those of `launching.agent_phase`, and two more: `pending` (Slurm has not started it) and
        `unknown` (Slurm has not been heard yet).
        """
        seen = self._seen.setdefault(folder, _Seen())
        now = time.monotonic()
        if now - seen.looked >= LOOK_SECONDS:
            seen.looked, seen.answer = now, self._look(folder, seen, now)
        return seen.answer

    def _look(self, folder: Path, seen: _Seen, now: float) -> tuple[str, Any, dict[str, Any] | None]:
        record, exit_ = _read(folder.parent / RECORD), _read(folder / "exit.json")
        if record is None or record["job"] is None:
            return ("exited", exit_, None) if exit_ is not None else ("absent", None, None)
        said = self._queue.job(record["job"], record["commands"])
        document = None if said is None else self._document(folder, said)
        self._feel(folder, seen, now)
        if exit_ is not None:
            return self._ended(seen, now, exit_, said, document)
        if said is None:
            return ("alive" if now - seen.beat_at < BEAT_SECONDS else "unknown"), None, None
        # Slurm gives up a node that it does not reach; what runs there may go on for a while.
        if said.state == "CANCELLED" and not (folder.parent / BEGUN).exists():
            return "gone", None, document  # in the queue
        if not said.over or now - seen.beat_at < BEAT_SECONDS:
            seen.over_at = None
        elif seen.over_at is None:
            seen.over_at = now
        elif now - seen.over_at >= SETTLE_SECONDS:
            began, log = (folder / "agent.json").exists(), folder.parent / "node-0" / "slurm.log"
            return "gone", None, {**(document or {}), "gone": True, "began": began, "last_words": _last_words(log)}
        begun = (folder / "agent.json").exists()
        if said.waits and (begun or (folder.parent / WISH).exists()):
            self._queue.hurry()
        return ("alive" if begun else "pending"), None, document

    def _document(self, folder: Path, said: Job) -> dict[str, Any]:
        document = said.document()
        wish, job = _read(folder.parent / WISH), _read(folder / "job.json")
        document["asked_by"] = None if wish is None else wish.get("by")
        document["node"] = None if job is None else job.get("slurm_node")
        return document

    @staticmethod
    def _feel(folder: Path, seen: _Seen, now: float) -> None:
        with contextlib.suppress(OSError):
            beat = (folder / "heartbeat.json").read_bytes()
            if seen.beat is not None and beat != seen.beat:
                seen.beat_at = now
            seen.beat = beat

    def _ended(
        self, seen: _Seen, now: float, exit_: dict[str, Any], said: Job | None, document: dict[str, Any] | None
    ) -> tuple[str, Any, dict[str, Any] | None]:
        if exit_["why"] in ("ok", "interrupted"):
            return "exited", exit_, document
        # A rank that Slurm ends looks like one that failed, until Slurm says so.
        if seen.exit_at is None:
            seen.exit_at = now
        if said is None or not said.over:
            if now - seen.exit_at < HOLD_SECONDS:
                self._queue.hurry()
                return "alive", None, document
            return "exited", exit_, document
        first = exit_.get("first") or {}
        ended = first.get("signal") in _TERMS or exit_["why"] == "agent_killed"
        if ended and said.state in (*STOPPED_BY_SLURM, "CANCELLED"):
            exit_ = {**exit_, "why": "stopped", "first": None}
        return "exited", exit_, document
