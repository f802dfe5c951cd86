"""What this machine is and has, as facts; what they mean is judged where the question came from."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cluster.node.gpus import gpu_facts
from engine.cluster.node.launching import SHARED_SECONDS, Tell, expand

PYTHON_SECONDS = 30.0  # a Python on a slow network file system
STALE_LOCK_SECONDS = 600.0  # no operator of DeepSpeed's takes that long to compile
PROBE_BYTES = 1 << 20
OWN_FOLDER = ".plumbline"  # in the work directory
_BUFFERS = "deepspeed_allreduce*"

# Told by the Python of the node itself: it imports nothing of what it finds.
_SOFTWARE = """\
import importlib.metadata as metadata, importlib.util as util, json, pathlib, re, sys
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
def folder(name):
    try: found = util.find_spec(name)
    except Exception: return None
    places = list(found.submodule_search_locations or ()) if found else []
    return places[0] if places else None
torch, cuda = folder('torch'), None
if torch:
    try: cuda = re.search(r"^cuda\\b[^=]*= *'([^']+)'", (pathlib.Path(torch) / 'version.py').read_text(), re.M)
    except OSError: pass
print(json.dumps({'python': sys.version.split()[0], 'versions': {name: version(name) for name in sys.argv[1:]},
                  'engine': folder('engine'), 'torch_cuda': cuda and cuda[1]}))
"""


def clock(tell: Tell) -> Mapping[str, Any]:
    """Return what time it is here, seconds since the epoch."""
    return {"time": time.time()}


def vitals(tell: Tell) -> Mapping[str, Any]:
    """Return how busy this machine is."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else (None, None, None)
    return {
        "time": time.time(),
        "host": socket.gethostname(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "load": list(load),
        "memory": _memory(),
        **gpu_facts(),
    }


def probe(
    tell: Tell, *, python: str, workdir: str | None, packages: Sequence[str], interface: str | None = None
) -> Mapping[str, Any]:
    """Return what a run needs to know of this machine before it starts here; takes seconds, leaves nothing behind.

    Args:
        tell: not used.
        python: the interpreter that the ranks would run.
        workdir: where run directories would be made; None: not looked at.
        packages: whose versions are wanted.
        interface: of the network between the nodes, whose presence is checked.
    """
    path = str(expand(python))
    software = _software(path, packages)
    engine = software.get("engine")
    return {
        **vitals(tell),
        "user": _me(),
        "system": sys.platform,
        "python": {"path": path, "version": software.get("python"), "problem": software.get("problem")},
        "versions": software.get("versions", {}),
        "code": code_hash(Path(engine)) if engine else None,
        "torch_cuda": software.get("torch_cuda"),
        "workdir": None if workdir is None else _place(expand(workdir)),
        "shm": _shared_memory(Path("/dev/shm")),
        "stale_locks": _stale_locks(),
        "open_files": _open_files(),
        "interface": None if interface is None else interface in [name for _, name in socket.if_nameindex()],
    }


def leave_token(tell: Tell, *, workdir: str) -> Mapping[str, Any]:
    """Write a file that no other file system has, and return its name."""
    folder = expand(workdir) / OWN_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name = f"token-{os.urandom(8).hex()}"
    (folder / name).write_text(name, encoding="utf-8")
    return {"token": name}


def find_token(tell: Tell, *, workdir: str, token: str, within: float = SHARED_SECONDS) -> Mapping[str, Any]:
    """Return whether the file that another node wrote is `seen` here, for which network file systems take a while."""
    folder = expand(workdir) / OWN_FOLDER
    deadline = time.monotonic() + within
    while True:
        with contextlib.suppress(OSError):
            os.listdir(folder)  # noqa: PTH208, for its effect: NFS forgets what it believed of the folder
            if (folder / token).read_text(encoding="utf-8") == token:
                return {"seen": True}
        if time.monotonic() > deadline:
            return {"seen": False}
        time.sleep(0.1)


def remove_token(tell: Tell, *, workdir: str, token: str) -> None:
    """Remove the file again."""
    with contextlib.suppress(OSError):
        (expand(workdir) / OWN_FOLDER / token).unlink()


def code_hash(package: Path) -> str | None:
    """Return the SHA-256 of a package's Python sources, by path; None if it cannot be read."""
    digest = hashlib.sha256()
    try:
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    except OSError:
        return None
    return digest.hexdigest()


def _software(python: str, packages: Sequence[str]) -> dict[str, Any]:
    """Return what the interpreter tells of itself, or as `problem` a sentence on what is wrong with it."""
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _SOFTWARE, *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PYTHON_SECONDS,
            check=False,
        )
    except OSError as error:
        return {"problem": f"{python} cannot be run: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"problem": f"{python} does not answer within {PYTHON_SECONDS:g} s"}
    try:
        told: dict[str, Any] = json.loads(asked.stdout)
    except ValueError:
        said = asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"]
        return {"problem": f"{python} cannot be run: {said[-1]}"}
    return told


def _place(path: Path) -> dict[str, Any]:
    """Return whether a file can be written to a folder, or where it would be made, and what room there is."""
    found: dict[str, Any] = {"path": str(path), "problem": None, "free": None, "total": None, "inodes_free": None}
    there = next((folder for folder in (path, *path.parents) if folder.exists()), path)
    if not there.is_dir():
        return {**found, "problem": f"{there} is not a folder"}
    trial = there / f".plumbline-probe-{os.urandom(8).hex()}"
    try:
        room = os.statvfs(there)
        found["free"], found["total"] = room.f_bavail * room.f_frsize, room.f_blocks * room.f_frsize
        found["inodes_free"] = room.f_favail if room.f_files else None
        with trial.open("xb") as file:
            file.write(b"\0" * PROBE_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        found["problem"] = f"{there} cannot be written to: {error.strerror}"
    finally:
        with contextlib.suppress(OSError):
            trial.unlink()
    return found


def _memory() -> dict[str, int | None]:
    page = os.sysconf("SC_PAGE_SIZE")
    available = None
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        available = 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return {"total": page * os.sysconf("SC_PHYS_PAGES"), "available": available}


def _shared_memory(folder: Path) -> dict[str, int] | None:
    """Return the room in shared memory, and what runs that have ended left in it."""
    try:
        room = os.statvfs(folder)
        buffers = {str(path): path.stat() for path in folder.glob(_BUFFERS)}
    except OSError:
        return None
    used = _mapped(folder) if buffers else set()
    left = [status.st_size for path, status in buffers.items() if path not in used]
    return {
        "free": room.f_bavail * room.f_frsize,
        "total": room.f_blocks * room.f_frsize,
        "leftovers": len(left),
        "leftover_bytes": sum(left),
    }


def _mapped(folder: Path) -> set[str]:
    """Return the files of a folder that living processes have mapped, as far as this user may see."""
    found = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            for line in maps.read_text(errors="replace").splitlines():
                path = line[line.find("/") :] if "/" in line else ""
                if path.startswith(f"{folder}/"):
                    found.add(path)
    return found


def _stale_locks() -> list[str]:
    """Return the locks of compilations that nobody does any more; who needs the operator waits for them for ever."""
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")
    found = []
    for pattern in ("*/lock", "*/*/lock"):
        for path in sorted(root.glob(pattern)):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > STALE_LOCK_SECONDS:
                    found.append(str(path))
    return found


def _open_files() -> int | None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
