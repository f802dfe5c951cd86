"""The dispatcher's companion on a node: lays runs ready, starts and signals their agents, sends what they write.

It lives as long as one connection. It is sent over that connection, needs the standard library alone, leaves nothing
behind, and holds no state that matters: whatever it knows, it reads from the run directories. Requests come as one
JSON object a line on stdin. On stdout go JSON objects, one a line; one with a `size` is followed by so many bytes.

    {"beat": t}                                        every second, so that silence means a dead link
    {"reply": id, …}                                   the answer to a request
    {"run": key, "phase": p, "exit": {…}|null}         where the agent stands: absent, alive, exited, gone
    {"run": key, "file": f, "offset": n, "size": n, "restarted": bool}   a piece of a file, and its bytes
    {"run": key, "drained": true}                      the run has ended here, and all that it wrote was sent
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cluster.agent import ALREADY_STARTED, boot_id, process_start, write_json

POLL_SECONDS = 0.1
BEAT_SECONDS = 1.0
PIECE_BYTES = 64 * 1024
PIECES_AT_ONCE = 16  # of one file, before requests and the other files get their turn
SHARED_SECONDS = 5.0  # how long a network file system may take to show a new file
START_SECONDS = 20.0
FACTS = ("metrics.jsonl", "events.jsonl", "samples.jsonl")
_VERSIONS = (
    "import importlib.metadata as m, json, sys\n"
    "def v(n):\n"
    "    try: return m.version(n)\n"
    "    except m.PackageNotFoundError: return None\n"
    "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
)


def _expand(path: str) -> Path:
    return Path(path).expanduser()


def node_folder(run_dir: Path, attempt: int, node: int) -> Path:
    """Return where the agent of an attempt works on a node, by its index."""
    return run_dir / f"attempt-{attempt}" / f"node-{node}"


def agent_phase(folder: Path) -> tuple[str, Any]:
    """Return where an agent stands (absent, alive, exited or gone), and its exit record if it left one."""
    try:
        who = json.loads((folder / "agent.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        who = None
    # Look whether it lives first: it may end, and leave its record, between the two looks.
    alive = who is not None and who["boot_id"] == boot_id() and process_start(who["pid"]) == who["started"]
    try:
        return "exited", json.loads((folder / "exit.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        pass
    if who is None:
        return "absent", None
    return ("alive" if alive else "gone"), None


@dataclass
class _Followed:
    """A run whose files are sent as they grow."""

    key: str
    run_dir: Path
    folder: Path
    facts: bool  # rank 0 is here
    copy: bool  # false: the files lie on the dispatcher's own machine already
    sizes: dict[str, int]  # bytes that the dispatcher has, by path in the run directory
    phase: tuple[str, Any] | None = None
    drained: bool = False
    inodes: dict[str, int] = field(default_factory=dict)

    def files(self) -> Iterator[str]:
        """Yield the files that are followed."""
        if self.facts:
            yield from FACTS
        for path in sorted(self.folder.glob("*.log")):
            yield str(path.relative_to(self.run_dir))


class Companion:
    """Serves one dispatcher over two file descriptors until the first is closed."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._rest = b""
        self._followed: dict[str, _Followed] = {}
        self._beat_at = 0.0

    def serve(self) -> None:
        """Serve until the dispatcher goes away."""
        self._send({"hello": 1, "pid": os.getpid(), "host": socket.gethostname()})
        while True:
            busy = [self._follow(followed) for followed in list(self._followed.values())]
            if time.monotonic() - self._beat_at >= BEAT_SECONDS:
                self._beat_at = time.monotonic()
                self._send({"beat": time.time()})
            ready, _, _ = select.select([self._requests], [], [], 0.0 if any(busy) else POLL_SECONDS)
            if ready and not self._read():
                return

    def _read(self) -> bool:
        data = os.read(self._requests, PIECE_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            request = json.loads(line)
            operation: Callable[..., Mapping[str, Any] | None] = getattr(self, f"do_{request.pop('do')}")
            identity = request.pop("id", None)
            try:
                answer = operation(**request)
            except OSError as error:
                answer = {"problem": f"{error.filename or 'the run directory'}: {error.strerror}"}
            if identity is not None:
                self._send({"reply": identity, **(answer or {})})
        return bool(data)

    def _send(self, header: Mapping[str, Any], data: bytes = b"") -> None:
        view = memoryview(json.dumps(header).encode() + b"\n" + data)
        while view:
            view = view[os.write(self._answers, view) :]

    def do_stage(
        self,
        *,
        run_dir: str,
        attempt: int,
        node: int,
        files: Mapping[str, str],
        inputs: Sequence[str],
        python: str,
        packages: Sequence[str],
        shared: Mapping[str, str],
        port_on: str | None,
    ) -> Mapping[str, Any]:
        """Lay an attempt ready: write `files` into its node folder and check what it needs; start nothing.

        shared: files, by path in the run directory, that node 0 writes and every other node must see.
        port_on: the address on which a free port is wanted, for the ranks to meet; asked again, it is the same port.
        """
        home = _expand(run_dir)
        folder = node_folder(home, attempt, node)
        missing = [path for path in inputs if not _expand(path).exists()]
        if missing:
            return {"problem": f"needs {', '.join(missing)}, which is not there", "refused": True}
        versions = _versions(str(_expand(python)), packages)
        if isinstance(versions, str):
            return {"problem": versions, "refused": True}
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in shared.items():
            if node == 0:
                _write_text(home / name, text)
            elif not _appears(home / name, text):
                told = f"does not see the {name} that node 0 wrote to {home}: the work directory must be shared"
                return {"problem": told, "refused": True}
        for name, text in files.items():
            _write_text(folder / name, text)
        port = None if port_on is None else _meeting_port(folder / "port", port_on)
        return {"run_dir": str(home), "port": port, "versions": versions}

    def do_start(self, run_dir: str, attempt: int, node: int, job: Mapping[str, Any], python: str) -> None:
        """Start the agent of an attempt that was laid ready, unless it was started before."""
        home = _expand(run_dir)
        folder = node_folder(home, attempt, node)
        if not (folder / "agent.json").exists():
            python = str(_expand(python))
            argv = [python, *(word.replace("{run_dir}", str(home)) for word in job["argv"])]
            write_json(folder / "job.json", {**job, "argv": argv, "cwd": str(home)})
            problem = _start_agent(python, folder)
            if problem is not None:
                first = {"rank": job["ranks"][0]["rank"], "code": None, "signal": None, "tail": problem}
                record = {"why": "rank_failed", "time": time.time(), "first": first, "ranks": {}}
                write_json(folder / "exit.json", record)
        for followed in self._followed.values():
            if followed.folder == folder:
                followed.phase = None  # tell it again: whoever asked for a start waits for it

    def do_signal(self, run_dir: str, attempt: int, node: int, name: str) -> None:
        """Pass a signal to the agent of an attempt, if it lives."""
        folder = node_folder(_expand(run_dir), attempt, node)
        if agent_phase(folder)[0] == "alive":
            pid = json.loads((folder / "agent.json").read_text(encoding="utf-8"))["pid"]
            os.kill(pid, getattr(signal, f"SIG{name}"))

    def do_follow(self, *, run: str, run_dir: str, attempt: int, node: int, sizes: dict[str, int], copy: bool) -> None:
        """Send what an attempt writes here, from the given sizes on, and where its agent stands."""
        home = _expand(run_dir)
        folder = node_folder(home, attempt, node)
        self._followed[run] = _Followed(run, home, folder, node == 0, copy, dict(sizes))

    def do_unfollow(self, run: str) -> None:
        """Send no more of a run."""
        self._followed.pop(run, None)

    def _follow(self, followed: _Followed) -> bool:
        """Send what is new of a run; return whether there is more."""
        phase = agent_phase(followed.folder)
        if phase != followed.phase:
            followed.phase = phase
            self._send({"run": followed.key, "phase": phase[0], "exit": phase[1]})
        more = False
        if followed.copy and not followed.drained:
            more = any([self._send_new(followed, name) for name in followed.files()])
        # The phase was read before the files, so nothing was written after what was sent.
        if phase[0] in ("exited", "gone") and not more and not followed.drained:
            followed.drained = True
            self._send({"run": followed.key, "drained": True})
        return more

    def _send_new(self, followed: _Followed, name: str) -> bool:
        try:
            file = (followed.run_dir / name).open("rb")
        except OSError:
            return False
        with file:
            status = os.fstat(file.fileno())
            offset = followed.sizes.get(name, 0)
            replaced = followed.inodes.setdefault(name, status.st_ino) != status.st_ino
            restarted = status.st_size < offset or replaced
            if restarted:
                offset = 0
                followed.inodes[name] = status.st_ino
            file.seek(offset)
            for _ in range(PIECES_AT_ONCE):
                data = file.read(PIECE_BYTES)
                if not data and not restarted:
                    return False
                header = {"run": followed.key, "file": name, "offset": offset, "restarted": restarted}
                self._send({**header, "size": len(data)}, data)
                restarted = False
                offset += len(data)
                followed.sizes[name] = offset
            return True


def _versions(python: str, packages: Sequence[str]) -> dict[str, str | None] | str:
    """Return the versions of packages that a Python has, or a sentence on what is wrong with it."""
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _VERSIONS, *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except OSError as error:
        return f"{python} cannot be run: {error.strerror}; name another with python= in the hostfile"
    except subprocess.TimeoutExpired:
        return f"{python} did not answer within 60 s"
    if asked.returncode != 0:
        return f"{python} cannot be run: {(asked.stderr.strip().splitlines() or ['it says nothing'])[-1]}"
    found: dict[str, str | None] = json.loads(asked.stdout)
    missing = [name for name, version in found.items() if version is None]
    if missing:
        lacking = ", ".join(missing)
        return f"{python} has no {lacking}; install plumbline[train] there, or name another python= in the hostfile"
    return found


def _start_agent(python: str, folder: Path) -> str | None:
    """Run agent.py until it has detached itself; return what went wrong."""
    try:
        started = subprocess.run(
            [python, "-I", "-S", str(folder / "agent.py"), str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=START_SECONDS,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"error: the agent cannot be started: {error}"
    if started.returncode in (0, ALREADY_STARTED):
        return None
    said = started.stderr.strip().splitlines() or ["see its agent.log"]
    return f"error: the agent could not start: {said[-1]}"


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def _appears(path: Path, text: str) -> bool:
    deadline = time.monotonic() + SHARED_SECONDS
    while True:
        try:
            if path.read_text(encoding="utf-8") == text:
                return True
        except OSError:
            pass
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)


def _meeting_port(file: Path, address: str) -> int:
    """Return the port that was chosen for this attempt, or choose one."""
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        port = _free_port(address)
        _write_text(file, str(port))
        return port


def _free_port(address: str) -> int:
    """Return a port that nothing listens on; on this machine's address if it has it, else on any."""
    with socket.socket() as listener:
        try:
            listener.bind((address, 0))
        except OSError:
            listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port


def main() -> None:
    """Serve over standard input and output."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints by accident must not break the stream
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        Companion(0, answers).serve()
