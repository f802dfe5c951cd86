"""The lock that lets one dispatcher run per database, and dies with its process."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PROBE_SECONDS = 1.0  # a look at the lock holds it for an instant; whoever wants it tries again for this long


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds the lock."""

    pid: int
    started: float  # seconds since the epoch
    leaving: bool  # it saw nothing to do and is about to end, unless it finds something at a last look


def lock_path(database: Path) -> Path:
    """Return the lock file of a database."""
    return database.with_name(database.name + ".dispatcher.lock")


class DispatcherLock:
    """A held lock. No child inherits it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._started = time.time()
        self.tell(leaving=False)

    @classmethod
    def acquire(cls, database: Path) -> DispatcherLock | None:
        """Take the lock, or return None if another process has it."""
        descriptor = os.open(lock_path(database), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        give_up = time.monotonic() + _PROBE_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return cls(descriptor)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    os.close(descriptor)
                    return None
                time.sleep(0.05)

    def tell(self, *, leaving: bool) -> None:
        """Write down who holds the lock, and whether it is about to leave."""
        document = {"pid": os.getpid(), "started": self._started, "leaving": leaving}
        # One write of a fixed length, so that a reader never sees half of it.
        os.pwrite(self._descriptor, json.dumps(document).ljust(120).encode() + b"\n", 0)

    def release(self) -> None:
        """Give it back. The file stays: removing it would let two processes hold two files of one name."""
        os.close(self._descriptor)


def holder(database: Path) -> Holder | None:
    """Return who holds the lock of a database, or None if nobody does."""
    try:
        descriptor = os.open(lock_path(database), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def _read(descriptor: int) -> Holder | None:
    try:
        document: Any = json.loads(os.pread(descriptor, 4096, 0).split(b"\n")[0] or b"null")
        return Holder(int(document["pid"]), float(document["started"]), bool(document["leaving"]))
    except (ValueError, KeyError, TypeError):
        return None  # it has just taken the lock and will write in an instant
