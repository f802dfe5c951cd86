"""Who uses which slot of this machine, so that two dispatchers, of two people too, never give out the same one.

There is one file a slot, in a folder that all users share. A lease is a lock (flock(2)) on it through a descriptor that
the agent, its undertaker and its ranks have in common: it is free exactly when the last of them is dead, and never
stale. What stands in the file only says whom to ask.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import random
import re
import stat
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.cluster.node.processes import process_start

FOLDER_VARIABLE = "PLUMBLINE_LEASES"
DEFAULT_FOLDER = "/tmp/plumbline-leases"
_TRIES, _PAUSE_SECONDS = 5, 0.05  # who looks at a slot holds it for a moment
_CONTENT_BYTES = 16 * 1024
_SLOT = re.compile(r"slot-(\d+)")


def folder() -> Path:
    """Return where the leases of this machine are."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def take(slots: Iterable[int], *, share: bool = False) -> tuple[list[int], dict[int, Mapping[str, Any]]]:
    """Take all of the slots, or none.

    Args:
        slots: their numbers on this machine.
        share: others may take them, too, who say the same.

    Returns:
        Descriptors that hold the leases, until the last copy of them is closed in any process; and, when it could not
        be, the slots that others hold, with what is known of the holder.

    Raises:
        OSError: if the folder or a file in it cannot be used.
    """
    _make_folder()
    descriptors: list[int] = []
    taken: dict[int, Mapping[str, Any]] = {}
    try:
        for slot in sorted(set(slots)):
            descriptor = _locked(slot, fcntl.LOCK_SH if share else fcntl.LOCK_EX)
            if descriptor is None:
                taken[slot] = _holder(folder() / f"slot-{slot}")
            else:
                descriptors.append(descriptor)
                if not share:
                    os.ftruncate(descriptor, 0)  # what is told of the last holder
    except BaseException:
        release(descriptors)
        raise
    if taken:
        release(descriptors)
    return descriptors, taken


def sign(descriptors: Iterable[int], holder: Mapping[str, Any], *, share: bool = False) -> None:
    """Write who holds leases that were taken, below those who share them. A full disk leaves it unsaid.

    holder: with `pid` and `started` (as `process_start` tells it) of a process that lives as long.
    """
    for descriptor in descriptors:
        others = [line for line in _lines(descriptor) if share and _lives(line)]
        text = "".join(json.dumps(line) + "\n" for line in (*others, {**holder, "share": share})).encode()
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text, 0)


def release(descriptors: list[int]) -> None:
    """Close this process's descriptors, and empty the list."""
    while descriptors:
        os.close(descriptors.pop())


def keep_fresh(descriptors: Iterable[int]) -> None:
    """Have the files look used, for programs that remove what is old from /tmp."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.utime(descriptor)


def standing() -> dict[int, Mapping[str, Any]]:
    """Return who holds which slot; an empty holder is one that cannot be told."""
    found: dict[int, Mapping[str, Any]] = {}
    with contextlib.suppress(OSError):
        for path in sorted(folder().iterdir()):
            name = _SLOT.fullmatch(path.name)
            if name is not None and _is_held(path):
                found[int(name[1])] = _holder(path)
    return dict(sorted(found.items()))


def leases(tell: object) -> Mapping[str, Any]:
    """Return who holds which slot here."""
    return {"held": {str(slot): holder for slot, holder in standing().items()}}


def _make_folder() -> None:
    path = folder()
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            path.chmod(0o1777)


def _open(path: Path) -> int:
    """Open a slot's file, and make it if need be. Raises OSError."""
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    while True:
        # Where fs.protected_regular is set, no one may open another user's file here with O_CREAT.
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(path, flags)
            break
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(descriptor, 0o666)  # whatever the umask
            break
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return descriptor


def _locked(slot: int, how: int) -> int | None:
    """Return a descriptor with a lock on a slot; None if another holds it."""
    path = folder() / f"slot-{slot}"
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_PAUSE_SECONDS * random.uniform(0.5, 1.5))
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
            # A file that was removed meanwhile is no one's lease any more.
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
    return None


def _is_held(path: Path) -> bool:
    try:
        descriptor = _open(path)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def _holder(path: Path) -> Mapping[str, Any]:
    """Return who signed last, and lives; the last one if that cannot be told of any."""
    try:
        descriptor = _open(path)
    except OSError:
        return {}
    try:
        lines = _lines(descriptor)
    finally:
        os.close(descriptor)
    living = [line for line in lines if _lives(line)]
    return (living or lines or [{}])[-1]


def _lines(descriptor: int) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    with contextlib.suppress(OSError):
        for line in os.pread(descriptor, _CONTENT_BYTES, 0).splitlines():
            with contextlib.suppress(ValueError):
                document = json.loads(line)
                if isinstance(document, dict):
                    found.append(document)
    return found


def _lives(holder: Mapping[str, Any]) -> bool:
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return process_start(int(holder["pid"])) == str(holder["started"])
    return False
