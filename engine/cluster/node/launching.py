"""Runs on this node: laid ready, started and signalled. All of it may be asked for twice and is done once."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cluster.node.agent import ALREADY_STARTED
from engine.cluster.node.archive import Sources, write_archive
from engine.cluster.node.documents import write_json, write_text
from engine.cluster.node.exit_record import unstarted_record
from engine.cluster.node.processes import boot_id, process_start

SHARED_SECONDS = 5.0  # how long a network file system may take to show a new file
START_SECONDS = 20.0
_VERSIONS = (
    "import importlib.metadata as m, json, sys\n"
    "def v(n):\n"
    "    try: return m.version(n)\n"
    "    except m.PackageNotFoundError: return None\n"
    "print(json.dumps({n: v(n) for n in sys.argv[1:]}))"
)

Tell = Callable[..., None]  # an answer on the way to the last one


def expand(path: str) -> Path:
    """Return a path of this machine; `~/` is the home folder."""
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


def stage(
    tell: Tell,
    *,
    sources: Sources,
    run_dir: str,
    attempt: int,
    node: int,
    python: str,
    packages: Sequence[str],
    shared: Mapping[str, str],
    own: bool,
    port_on: str | None,
) -> Mapping[str, Any]:
    """Lay an attempt ready: write the agent into its node folder and check what it needs; start nothing.

    shared: files, by path in the run directory, that node 0 writes and every other node must see.
    own: the run directory is this node's own, so that it writes them itself.
    port_on: the address on which a free port is wanted, for the ranks to meet; asked again, it is the same port.
    """
    home = expand(run_dir)
    folder = node_folder(home, attempt, node)
    versions = _versions(str(expand(python)), packages)
    if isinstance(versions, str):
        return {"problem": versions, "refused": True}
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in shared.items():
        if own or node == 0:
            write_text(home / name, text)
        elif not _appears(home / name, text):
            told = f"does not see the {name} that node 0 wrote to {home}: the work directory must be shared"
            told += "; write shared=no into the hostfile if each node has its own"
            return {"problem": told, "refused": True}
    write_archive(folder / "agent.pyz", sources)
    port = None if port_on is None else _meeting_port(folder / "port", port_on)
    return {"run_dir": str(home), "port": port, "versions": versions}


def start(tell: Tell, *, run_dir: str, attempt: int, node: int, job: Mapping[str, Any], python: str) -> None:
    """Start the agent of an attempt that was laid ready, unless it was started before."""
    home = expand(run_dir)
    folder = node_folder(home, attempt, node)
    if (folder / "agent.json").exists():
        return
    write_json(folder / "job.json", with_full_paths(job, home, python))
    problem = _start_agent(str(expand(python)), folder)
    if problem is not None:
        write_json(folder / "exit.json", unstarted_record(job["ranks"][0]["rank"], problem))


def with_full_paths(job: Mapping[str, Any], home: Path, python: str) -> dict[str, Any]:
    """Return a job with the paths that only this machine knows. home: the run directory."""
    argv = [str(expand(python)), *(word.replace("{run_dir}", str(home)) for word in job["argv"])]
    env = dict(job["env"])
    if job.get("code") is not None:
        env["PYTHONPATH"] = str(expand(job["code"]))
    return {**job, "argv": argv, "cwd": str(home), "env": env}


def pass_signal(run_dir: str, attempt: int, node: int, name: str) -> None:
    """Pass a signal to the agent of an attempt, if it lives."""
    folder = node_folder(expand(run_dir), attempt, node)
    if agent_phase(folder)[0] == "alive":
        pid = json.loads((folder / "agent.json").read_text(encoding="utf-8"))["pid"]
        os.kill(pid, getattr(signal, f"SIG{name}"))


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
    """Run the agent until it has detached itself; return what went wrong."""
    try:
        started = subprocess.run(
            [python, "-I", "-S", str(folder / "agent.pyz"), str(folder)],
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
        return f"the agent cannot be started: {error}"
    if started.returncode in (0, ALREADY_STARTED):
        return None
    said = started.stderr.strip().splitlines() or ["see its agent.log"]
    return f"the agent could not start: {said[-1]}"


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
        write_text(file, str(port))
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
