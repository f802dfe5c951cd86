"""Staging, as a node does it: say what is here, take in what is sent, send what is asked for.

Operations of the companion. Contents travel as `Content.document()`.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cluster.node.contents import Content, Hashes, Unfit, describe, entries, require_below, stamp
from engine.cluster.node.objects import (
    ROUNDS,
    Answer,
    Progress,
    Tell,
    arriving,
    explained,
    home,
    link,
    object_folder,
    present,
    whole,
)

PIECE_BYTES = 256 * 1024


@explained
def survey(tell: Tell, *, paths: Sequence[str]) -> Answer:
    """Say what lies at some paths, without reading it: `found` by path, null where there is nothing."""
    found: dict[str, Any] = {}
    for path in paths:
        try:
            listing = entries(Path(path).expanduser())
        except (FileNotFoundError, NotADirectoryError):
            found[path] = None
        else:
            found[path] = {"stamp": stamp(listing), "size": sum(entry.size for entry in listing)}
    return {"found": found}


@explained
def listing(tell: Tell, *, path: str) -> Answer:
    """Say which files lie at a path: `files`, as `Entry`; null where there is nothing."""
    root = Path(path).expanduser()
    try:
        return {"files": [list(entry) for entry in entries(root)], "folder": root.is_dir()}
    except (FileNotFoundError, NotADirectoryError):
        return {"files": None}


@explained
def describe_path(tell: Tell, *, workdir: str, path: str) -> Answer:
    """Say what a file or folder holds: `content`. On the way `there`, the bytes that were read."""
    hashes = Hashes(home(workdir) / "hashes.json")
    return {"content": describe(Path(path).expanduser(), hashes, Progress(tell).add).document()}


@explained
def have(tell: Tell, *, workdir: str, objects: Sequence[Mapping[str, Any]]) -> Answer:
    """Say where objects lie that are whole here (`paths`, by SHA-256), and of how many bytes the others are short
    (`missing`), of how many that are free on the disk.

    objects: each a content with a `name`.
    """
    paths: dict[str, str | None] = {}
    missing: dict[str, int] = {}
    for each in objects:
        content = Content.from_document(each)
        folder = object_folder(workdir, content.sha256)
        paths[content.sha256] = None
        if whole(folder):
            paths[content.sha256] = str(link(folder, str(each["name"]), Path("content")))
        else:
            missing[content.sha256] = content.size - present(folder, content)
    store = home(workdir) / "objects"
    store.mkdir(parents=True, exist_ok=True)
    return {"paths": paths, "missing": missing, "free": shutil.disk_usage(store).free, "store": str(store)}


@explained
def alias(tell: Tell, *, workdir: str, sha256: str, name: str, path: str) -> Answer:
    """Let what lies elsewhere on this node be found as an object; nothing is copied. Say its path."""
    folder = object_folder(workdir, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    target = Path("content") if whole(folder) else Path(path).expanduser().absolute()
    return {"path": str(link(folder, name, target))}


@explained
def receive(tell: Tell, *, workdir: str, content: Mapping[str, Any], name: str, transfer: str) -> Answer:
    """Take an object in. `wants` says what is missing; it is to come by `piece`, and `written` says how far it is.

    What came damaged is wanted again. The answer is its path, and how many bytes were `received`.
    """
    announced = Content.from_document(content)
    pieces = _pieces.setdefault(transfer, _Pieces())
    try:
        with arriving(workdir, announced, name, tell) as arrival:
            if isinstance(arrival, Path):
                return {"path": str(arrival), "received": 0}
            for _ in range(ROUNDS):
                wants = arrival.wants()
                if not wants:
                    break
                tell({"wants": wants, "there": arrival.there})
                while arrival.missing:
                    arrival.feed(pieces.take())
                    tell({"written": arrival.received, "there": arrival.there})
            return {"path": str(arrival.finish()), "received": arrival.received}
    finally:
        del _pieces[transfer]


def piece(tell: Tell, *, transfer: str, number: int, data: bytes) -> None:
    """Take the next bytes of what is wanted."""
    pieces = _pieces.get(transfer)
    if pieces is not None:
        pieces.put(number, data)


@explained
def send(tell: Tell, *, path: str, wants: Sequence[tuple[str, int, int]]) -> Answer:
    """Send files below a path: of each wanted (path, first byte, size) the bytes from there to the size, as they are
    now. Each piece says its `file`, by number; after the last one of a file comes the `sha256` of all its bytes.
    """
    root = Path(path).expanduser()
    for number, (name, offset, size) in enumerate(wants):
        require_below(name, folder=root.is_dir())
        digest, at = hashlib.sha256(), 0
        for block in _blocks(root / name, size):
            digest.update(block)
            new = block[max(0, offset - at) :]
            at += len(block)
            if new:
                tell({"file": number}, new)
        tell({"file": number, "sha256": digest.hexdigest()})
    return {}


@explained
def hash_prefixes(tell: Tell, *, path: str, wants: Sequence[tuple[str, int]]) -> Answer:
    """Say the SHA-256 of the first bytes of files below a path, for each wanted (path, number of bytes)."""
    root, progress = Path(path).expanduser(), Progress(tell)
    hashes = []
    for name, size in wants:
        require_below(name, folder=root.is_dir())
        digest = hashlib.sha256()
        for block in _blocks(root / name, size):
            digest.update(block)
            progress.add(len(block))
        hashes.append(digest.hexdigest())
    return {"sha256": hashes}


def _blocks(path: Path, size: int) -> Iterator[bytes]:
    """Yield the first `size` bytes of a file. Raises Unfit if it is shorter by now."""
    with path.open("rb") as file:
        while size:
            block = file.read(min(PIECE_BYTES, size))
            if not block:
                raise Unfit(f"{path} became shorter while it was read")
            size -= len(block)
            yield block


class _Pieces:
    """What a controller sends for one arrival: by number, for their threads may come in any order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[int, bytes] = {}
        self._next = 0

    def put(self, number: int, data: bytes) -> None:
        with self._changed:
            self._waiting[number] = data
            self._changed.notify_all()

    def take(self) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: self._next in self._waiting)
            self._next += 1
            return self._waiting.pop(self._next - 1)


_pieces: dict[str, _Pieces] = {}  # by transfer; a companion lives as long as its connection, and they with it
