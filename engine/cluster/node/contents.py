"""What files and folders hold, by size and SHA-256: on the nodes and on the machine that sends to them alike."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

BLOCK_BYTES = 1 << 20
MOST_REMEMBERED = 100_000  # files whose hash is kept
_UNSURE_SECONDS = 2.0  # a file as young as that may be written again without a new modification time

OnBytes = Callable[[int], None]


class Unfit(Exception):
    """A file or folder cannot be taken as it is; the text names it and says why, without a full stop."""


class Entry(NamedTuple):
    """A file below a root, as `stat` shows it. The path of a root that is a file itself is empty."""

    path: str
    size: int
    modified: int  # nanoseconds
    inode: int


class Content(NamedTuple):
    """What a file or folder holds. `sha256` of a folder is that of the listing that `sha256sum` makes of its files."""

    sha256: str
    folder: bool
    files: Sequence[tuple[str, int, str]]  # path below the root, bytes, SHA-256

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, size, _ in self.files)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"sha256": self.sha256, "folder": self.folder, "files": [list(file) for file in self.files]}

    @classmethod
    def from_document(cls, document: Any) -> Content:
        """Return what `document()` wrote. Raises Unfit if a path in it leads out of the folder."""
        files = [(str(path), int(size), str(digest)) for path, size, digest in document["files"]]
        content = cls(str(document["sha256"]), bool(document["folder"]), files)
        for path, _, _ in files:
            require_below(path, content.folder)
        return content


def require_below(path: str, folder: bool) -> None:
    """Raise Unfit unless a path leads to a file below the root; for a root that is a file it must be empty."""
    parts = path.split("/")
    if (path == "") is folder or "\0" in path or (folder and ({"", ".", ".."} & set(parts))):
        raise Unfit(f"{path!r} is no path below a folder")


def entries(root: Path) -> list[Entry]:
    """Return the files at or below a root, links followed, in a fixed order; not what Python compiles beside them.

    Raises:
        FileNotFoundError: if there is nothing.
        Unfit: if something in it is neither a file nor a folder, or leads nowhere or back.
    """
    status = root.stat()
    if stat.S_ISREG(status.st_mode):
        return [Entry("", status.st_size, status.st_mtime_ns, status.st_ino)]
    if not stat.S_ISDIR(status.st_mode):
        raise Unfit(f"{root} is neither a file nor a folder")
    found: list[Entry] = []
    _walk(root, "", {(status.st_dev, status.st_ino)}, found)
    found.sort(key=lambda entry: entry.path.split("/"))
    return found


def _walk(root: Path, below: str, above: set[tuple[int, int]], found: list[Entry]) -> None:
    with os.scandir(root / below) as listing:
        for each in listing:
            if each.name == "__pycache__":
                continue
            path = f"{below}/{each.name}" if below else each.name
            try:
                status = each.stat()
            except FileNotFoundError:
                raise Unfit(f"{root / path} is a link to nothing") from None
            if stat.S_ISREG(status.st_mode):
                found.append(Entry(path, status.st_size, status.st_mtime_ns, status.st_ino))
            elif not stat.S_ISDIR(status.st_mode):
                raise Unfit(f"{root / path} is neither a file nor a folder")
            else:
                mark = (status.st_dev, status.st_ino)
                if mark in above:
                    raise Unfit(f"{root / path} is a link to a folder above it")
                _walk(root, path, above | {mark}, found)


def stamp(listing: Iterable[Entry]) -> str:
    """Return a mark of a listing. Two machines with the same mark see the same files: inodes and times are one's own
    on every file system, and one that is shared shows the same to all.
    """
    return hashlib.sha256(json.dumps(list(listing)).encode()).hexdigest()


def digest_of(files: Iterable[tuple[str, int, str]]) -> str:
    """Return the SHA-256 of a folder with these files in order."""
    listing = hashlib.sha256()
    for path, _, digest in files:
        listing.update(f"{digest}  ".encode() + os.fsencode(path) + b"\n")
    return listing.hexdigest()


class Hashes:
    """The SHA-256 of files, remembered in a small file by path, size, modification time and inode."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = self._read()
        self._new: dict[str, list[Any]] = {}

    def of(self, path: Path, on_bytes: OnBytes = lambda count: None) -> str:
        """Return the SHA-256 of a file. Raises OSError, and Unfit if it changes meanwhile.

        on_bytes: is told how many bytes were done with.
        """
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            mark = [before.st_size, before.st_mtime_ns, before.st_ino]
            key = str(path)
            known = self._new.get(key) or self._known.get(key)
            if known is not None and known[:3] == mark:
                on_bytes(before.st_size)
                self._new[key] = known
                return str(known[3])
            digest, size = hashlib.sha256(), 0
            while True:
                block = file.read(BLOCK_BYTES)
                if not block:
                    break
                digest.update(block)
                size += len(block)
                on_bytes(len(block))
            after = os.fstat(file.fileno())
        if (size, after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
            raise Unfit(f"{path} changed while it was read")
        if time.time_ns() - before.st_mtime_ns > _UNSURE_SECONDS * 1e9:
            self._new[key] = [*mark, digest.hexdigest()]
        return digest.hexdigest()

    def save(self) -> None:
        """Write down what was learnt; a file system that takes nothing costs only time, the next time."""
        if all(self._known.get(key) == value for key, value in self._new.items()):
            return
        merged = {**{key: value for key, value in self._read().items() if key not in self._new}, **self._new}
        kept = dict(list(merged.items())[-MOST_REMEMBERED:])
        temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(kept), encoding="utf-8")
            temporary.replace(self._file)

    def _read(self) -> dict[str, list[Any]]:
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}


def describe(root: Path, hashes: Hashes, on_bytes: OnBytes = lambda count: None) -> Content:
    """Return what a file or folder holds. Raises OSError, and Unfit as `entries` and `Hashes.of` do."""
    listing = entries(root)
    folder = root.is_dir()
    try:
        files = [(entry.path, entry.size, hashes.of(root / entry.path, on_bytes)) for entry in listing]
    finally:
        hashes.save()
    if stamp(entries(root)) != stamp(listing):
        raise Unfit(f"{root} changed while it was read")
    return Content(digest_of(files) if folder else files[0][2], folder, files)
