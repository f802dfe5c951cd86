"""How an attempt ended on a node: `exit.json`, which must come to be on a full disk, too.

Room for it is taken before anything starts: a file of blanks, that the record is written over and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = "exit.json"
ROOM_BYTES = 64 * 1024
TAIL_BYTES = 32 * 1024
_ROOM = ".exit.json.room"
_AGAIN_SECONDS = 1.0


def take_room(folder: Path) -> None:
    """Take the room that the record will need. Raises OSError."""
    descriptor = os.open(folder / _ROOM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        _write(descriptor, b" " * ROOM_BYTES)
    finally:
        os.close(descriptor)


def leave_record(folder: Path, record: Mapping[str, Any], *, seconds: float | None = None) -> bool:
    """Leave the record; return whether it is there. seconds: after which it gives up; None: only with the folder."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        for document in (record, _shortened(record)):
            try:
                _leave(folder, _encoded(document))
                return True
            except OSError:
                continue
        if not folder.is_dir() or (deadline is not None and time.monotonic() > deadline):
            return False
        time.sleep(_AGAIN_SECONDS)


def read_record(folder: Path) -> Any:
    """Return the record of an attempt, None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / FILE).read_text(encoding="utf-8"))
    return None


def killed_record(killed: int) -> dict[str, Any]:
    """Return the record of an attempt whose agent was killed; `killed` of its processes were ended after that."""
    return {"why": "agent_killed", "time": time.time(), "first": None, "ranks": {}, "killed": killed}


def unstarted_record(rank: int, problem: str) -> dict[str, Any]:
    """Return the record of a share of an attempt that could not be started. rank: the first one there."""
    first = {"rank": rank, "code": None, "signal": None, "tail": f"error: {problem}"}
    return {"why": "rank_failed", "time": time.time(), "first": first, "ranks": {}}


def _leave(folder: Path, text: bytes) -> None:
    room = folder / _ROOM
    descriptor = os.open(room, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # Not truncated first: the blocks that it has are all that a full disk gives.
        os.lseek(descriptor, 0, os.SEEK_SET)
        _write(descriptor, text)
        os.ftruncate(descriptor, len(text))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    room.replace(folder / FILE)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _shortened(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the record with so much less of the log that it fits into the room."""
    first = record.get("first") or {}
    tail = str(first.get("tail") or "")
    short = record
    while tail and len(_encoded(short)) > ROOM_BYTES:
        tail = tail[len(tail) // 8 + 1 :]
        short = {**record, "first": {**first, "tail": tail}}
    return short


def _encoded(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace")


def log_tail(path: Path) -> str:
    """Return the last of a log, "" if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def free_bytes(folder: Path) -> int | None:
    """Return what is free on the disk of a folder, None if that cannot be told."""
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize
