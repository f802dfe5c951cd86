"""The store of a node: content by its SHA-256, below the work directory, whole or on its way in.

WORKDIR/.plumbline/objects/SHA256/content      the file or folder, only to be read
                                 /NAME         a link to it; or to where it lies on this node anyway
                                 /.complete    written last: what it holds
                                 /.parts/N     file number N on its way in, as far as it came
                                 /.lock        held by who writes
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from engine.cluster.node.contents import BLOCK_BYTES, Content, Unfit, require_below
from engine.cluster.node.documents import write_json

CHECKED_BYTES = 16 << 20  # an object up to this size is hashed anew whenever it is used
ROUNDS = 2  # what arrives damaged is wanted once more
_LOCK_SECONDS, _TOLD_SECONDS = 0.2, 0.2

Tell = Callable[..., None]
Answer = Mapping[str, Any]


def explained(operation: Callable[..., Answer]) -> Callable[..., Answer]:
    """Let an operation of the companion answer with a `problem` where it raises Unfit, or where a disk is full."""

    @functools.wraps(operation)
    def answering(tell: Tell, **arguments: Any) -> Answer:
        try:
            return operation(tell, **arguments)
        except Unfit as error:
            return {"problem": str(error)}
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return {"problem": f"there is no room left in {home(arguments['workdir'])}"}

    return answering


def home(workdir: str) -> Path:
    """Return where Plumbline keeps things of its own in a work directory."""
    return Path(workdir).expanduser() / ".plumbline"


def object_folder(workdir: str, sha256: str) -> Path:
    """Return the folder of an object. Raises Unfit if that is no SHA-256."""
    if len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise Unfit(f"{sha256!r} is no SHA-256")
    return home(workdir) / "objects" / sha256


def whole(folder: Path) -> bool:
    """Whether an object is whole here. A small one is hashed, of a large one the sizes are compared."""
    try:
        content = Content.from_document(json.loads((folder / ".complete").read_text(encoding="utf-8")))
        root = folder / "content"
        if content.size <= CHECKED_BYTES:
            return all(_hash_of(root / path) == digest for path, _, digest in content.files)
        return all((root / path).stat().st_size == size for path, size, _ in content.files)
    except (OSError, ValueError, KeyError, Unfit):
        return False


def present(folder: Path, content: Content) -> int:
    """Return how many bytes of an object are here."""
    found = _size(folder / "content") or 0 if not content.folder else 0
    for top in ("content", ".parts"):
        for above, _, names in os.walk(folder / top):
            found += sum(_size(Path(above, name)) or 0 for name in names)
    return min(found, content.size)


def link(folder: Path, name: str, target: Path) -> Path:
    """Give an object a name, for what lies in its folder or elsewhere, and return the path. Raises Unfit, OSError."""
    require_below(name, folder=True)
    if "/" in name or name.startswith(".") or name == "content":
        raise Unfit(f"{name!r} is no name for an object")
    path = folder / name
    with contextlib.suppress(OSError):
        if path.readlink() == target:
            return path
    temporary = folder / f".link.{os.getpid()}.{threading.get_ident()}"
    temporary.symlink_to(target)
    temporary.replace(path)
    return path


class Arrival:
    """An object that comes in piece by piece, over whatever way; it can be broken off anywhere and gone on with."""

    def __init__(self, folder: Path, content: Content, name: str) -> None:
        self._folder, self._content, self._name = folder, content, name
        self._root, self._parts = folder / "content", folder / ".parts"
        self._wanted: list[tuple[int, int]] = []  # number of the file, and from which byte on
        self._file: IO[bytes] | None = None  # the first of them
        self._hash = hashlib.sha256()
        self._rest = 0  # bytes that it lacks
        self.missing = 0  # bytes that were wanted and have not come
        self.received = 0  # bytes, in all rounds

    @property
    def there(self) -> int:
        """Bytes of the object that have come, now or earlier."""
        return self._content.size - self.missing

    def wants(self) -> list[tuple[int, int]]:
        """Return which files are missing, by number, and from which byte on. Feed their bytes in this order."""
        self._parts.mkdir(exist_ok=True)
        self._wanted, self.missing = [], 0
        for number, (path, size, digest) in enumerate(self._content.files):
            target, part = self._root / path, self._parts / str(number)
            # What has its name was checked before; a small object may have been damaged since.
            if _size(target) == size and (self._content.size > CHECKED_BYTES or _hash_of(target) == digest):
                continue
            have = _size(part)
            if have is None or have > size:
                part.write_bytes(b"")
                have = 0
            if have == size:
                if self._name_it(number, _hash_of(part)):
                    continue
                have = 0
            self._wanted.append((number, have))
            self.missing += size - have
        return list(self._wanted)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of what is wanted. Raises OSError, and Unfit if more comes than was wanted."""
        view = memoryview(data)
        if len(view) > self.missing:
            raise Unfit("more is sent than was asked for")
        self.received += len(view)
        self.missing -= len(view)
        while view:
            file = self._begin()
            piece = view[: self._rest]
            file.write(piece)
            self._hash.update(piece)
            self._rest -= len(piece)
            view = view[len(piece) :]
            if self._rest == 0:
                self.close()
                self._name_it(self._wanted.pop(0)[0], self._hash.hexdigest())

    def finish(self) -> Path:
        """Mark the object as whole and return its path. Raises Unfit if something of it came damaged to the last."""
        for path, size, _ in self._content.files:
            if _size(self._root / path) != size:
                shown = f"{self._name}/{path}" if path else self._name
                raise Unfit(f"{shown} arrives with another content than was announced; did it change meanwhile?")
        if self._content.folder:
            self._root.mkdir(exist_ok=True)
        shutil.rmtree(self._parts, ignore_errors=True)
        write_json(self._folder / ".complete", self._content.document())
        return link(self._folder, self._name, Path("content"))

    def close(self) -> None:
        """Leave off; what came stays."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> IO[bytes]:
        """Return the file that comes next, open at its end."""
        if self._file is None:
            number, offset = self._wanted[0]
            part = self._parts / str(number)
            self._hash = _hashed(part)
            self._rest = self._content.files[number][1] - offset
            self._file = part.open("ab")
        return self._file

    def _name_it(self, number: int, digest: str) -> bool:
        """Give a file its name, if it has all its bytes and they are the right ones; empty it otherwise."""
        path, _, expected = self._content.files[number]
        part, target = self._parts / str(number), self._root / path
        if digest != expected:
            part.write_bytes(b"")
            return False
        if self._content.size > CHECKED_BYTES:  # for a power cut; a small object is hashed at each use
            with part.open("rb") as file:
                os.fsync(file.fileno())
        part.chmod(0o444)
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        return True


@contextlib.contextmanager
def arriving(workdir: str, content: Content, name: str, tell: Tell) -> Iterator[Arrival | Path]:
    """Yield an arrival that alone writes, on all machines that see the folder; or the path, if the object is whole.

    While another controller writes the same object it is waited for, and `there` told. Raises OSError, Unfit.
    """
    folder = object_folder(workdir, content.sha256)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                tell({"there": present(folder, content)})
                time.sleep(_LOCK_SECONDS)
        if whole(folder):
            yield link(folder, name, Path("content"))
            return
        arrival = Arrival(folder, content, name)
        try:
            yield arrival
        finally:
            arrival.close()


class Progress:
    """Tells how many bytes are there, not too often."""

    def __init__(self, tell: Tell, there: int = 0) -> None:
        self._tell, self._there, self._told = tell, there, 0.0

    def add(self, count: int) -> None:
        """Note bytes that came."""
        self._there += count
        if time.monotonic() - self._told > _TOLD_SECONDS:
            self._told = time.monotonic()
            self._tell({"there": self._there})


def _size(path: Path) -> int | None:
    """Return the bytes of a plain file, or None if there is none."""
    try:
        return path.stat().st_size if path.is_file() else None
    except OSError:
        return None


def _hashed(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK_BYTES), b""):
            digest.update(block)
    return digest


def _hash_of(path: Path) -> str:
    return _hashed(path).hexdigest()
