"""The dispatcher as a process: whether it runs, how it is started and stopped. Everything here is quick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from engine.dispatch.lock import Holder, holder
from engine.errors import RunFailed, Unreachable

START_SECONDS = 20.0
STOP_SECONDS = 15.0
_POLL_SECONDS = 0.03
_LARGEST_LOG = 4 << 20  # bytes; a larger one is begun anew


@dataclass(frozen=True, slots=True)
class Status:
    """Whether the dispatcher of a database runs, and as which process."""

    running: bool
    pid: int | None
    started: float | None  # seconds since the epoch


def status(database: Path) -> Status:
    """Return how the dispatcher of a database stands."""
    held = holder(database)
    return Status(held is not None, held.pid if held else None, held.started if held else None)


def log_path(database: Path) -> Path:
    """Return where the dispatcher of a database writes what it has to say."""
    return database.with_name(database.name + ".dispatcher.log")


def ensure_running(database: Path) -> None:
    """Start the dispatcher unless it runs. What it should do must stand in the database before.

    Raises:
        Unreachable: if it does not start.
    """
    if _stays(holder(database)):
        return
    child = _spawn(database)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _stays(holder(database)):
            return
        if child.poll() is not None and not _stays(holder(database)):
            # It gave way to another one that was leaving, or it failed; in both cases another try is right.
            if child.returncode != 0:
                break
            child = _spawn(database)
        time.sleep(_POLL_SECONDS)
    raise Unreachable(
        "the dispatcher, which runs the experiments, did not start.", hint=_last_words(database), where=str(database)
    )


def _stays(held: Holder | None) -> bool:
    return held is not None and not held.leaving


def _spawn(database: Path) -> subprocess.Popen[bytes]:
    log = log_path(database)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    if log.exists() and log.stat().st_size > _LARGEST_LOG:
        flags |= os.O_TRUNC
    descriptor = os.open(log, flags, 0o600)
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "engine.dispatch.dispatcher", str(database)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,
            cwd=database.parent,
        )
    finally:
        os.close(descriptor)


def _last_words(database: Path) -> str:
    log = log_path(database)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.exists() else []
    return f"It said: {lines[-1][:300]}" if lines else f"See {log}."


def stop(database: Path) -> None:
    """Ask the dispatcher to leave, and wait until it has; what runs goes on.

    Raises:
        RunFailed: if it does not leave.
    """
    held = holder(database)
    if held is None:
        return
    try:
        os.kill(held.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise RunFailed(f"the dispatcher, process {held.pid}, belongs to somebody else.", where=str(database)) from None
    deadline = time.monotonic() + STOP_SECONDS
    while (now := holder(database)) is not None and now.pid == held.pid:
        if time.monotonic() > deadline:
            raise RunFailed(f"the dispatcher, process {held.pid}, does not leave.", where=str(database))
        time.sleep(_POLL_SECONDS)
