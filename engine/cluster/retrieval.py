"""Bringing back: what a run made, from a node to a folder of this machine, whole or as much as still lacks."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine.cluster.distribution import BRINGING, Report, Tally
from engine.cluster.hostfile import Node, local_hostfile
from engine.cluster.node.contents import BLOCK_BYTES, Entry, Unfit, digest_of, entries, require_below, stamp
from engine.cluster.node.objects import ROUNDS
from engine.cluster.session import NodeSession
from engine.errors import NotFound, Refused, RunFailed
from engine.plan.sizes import in_words

_PART = ".part"  # what a file is called while it comes in


@dataclass(frozen=True, slots=True)
class Source:
    """A file or folder that is to be brought, as a node shows it now. One thread at a time."""

    session: NodeSession
    host: str
    path: str
    files: Sequence[Entry]
    folder: bool

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files)

    @property
    def stamp(self) -> str:
        """A mark that two nodes have in common only if they see the same files."""
        return stamp(self.files)


@dataclass(frozen=True, slots=True)
class Brought:
    """What is in the folder now. copied: bytes that had to be brought, the others were there."""

    files: int
    size: int
    copied: int
    sha256: str


def open_source(node: Node, path: str) -> Source:
    """Look at what is to be brought. What this machine sees as well is read here, and not over SSH.

    The session is to be closed by whoever asked.

    Raises:
        Unreachable, InvalidInput: if the node cannot be reached.
        NotFound: if nothing is there.
        RunFailed: if it cannot be read.
    """
    session = NodeSession.connect(node)
    try:
        source = _look(session, node.host, path)
        if not node.is_local and _seen_here(path) == source.stamp:
            session.close()
            session = NodeSession.connect(local_hostfile().nodes[0])
            source = _look(session, node.host, path)
        return source
    except BaseException:
        session.close()
        raise


def bring(
    source: Source, folder: Path, report: Report = lambda progress: None, *, sha256: str | None = None
) -> Brought:
    """Copy a file, or all that is in a folder, into a folder of this machine; it can be broken off and gone on with.

    Args:
        source: what is to be brought.
        folder: it is made if it does not exist. What lies there already, with the same content, is not brought again.
        report: is told of progress.
        sha256: what was written down when it was made; null if nothing was.

    Raises:
        Refused: if the folder holds anything else, or has no room; nothing was written then.
        Unreachable: if the connection breaks.
        RunFailed: if a file cannot be read or written, changes meanwhile, or is not what was written down.
    """
    try:
        return _Bringing(source, folder, report).carry_out(sha256)
    except OSError as error:
        raise RunFailed(f"cannot be written: {error.strerror}.", where=str(error.filename or folder)) from error


class _Bringing:
    """One file or folder on its way."""

    def __init__(self, source: Source, folder: Path, report: Report) -> None:
        self._source, self._folder = source, folder
        self._files = {entry.path or Path(source.path).name: entry for entry in source.files}
        self._hashes: dict[str, str] = {}  # of what is here, whole
        self._tally = Tally(BRINGING, Path(source.path).name, {source.host: source.size}, report)
        self._there = self._copied = 0

    def carry_out(self, sha256: str | None) -> Brought:
        self._keep_what_is_there()
        for _ in range(ROUNDS):
            wants = self._wants()
            if not wants:
                break
            writer = _Writer(self._folder, [name for name, _ in wants], self._hashes, self._count)
            asked = [(self._files[name].path, offset, self._files[name].size) for name, offset in wants]
            self._source.session.ask("send", seconds=None, on_piece=writer.hear, path=self._source.path, wants=asked)
        for name in self._files:
            if name not in self._hashes:
                raise RunFailed(f"{name} arrives damaged.", hint="Try again.", where=self._source.host)
        listed = [(entry.path, entry.size, self._hashes[name]) for name, entry in self._files.items()]
        found = digest_of(listed) if self._source.folder else listed[0][2]
        if sha256 is not None and found != sha256:
            raise RunFailed(
                f"{self._source.path} has the SHA-256 {found[:12]}…, but {sha256[:12]}… was written down when it was "
                "made: it was changed since.",
                where=self._source.host,
            )
        return Brought(len(listed), self._source.size, self._copied, found)

    def _keep_what_is_there(self) -> None:
        """Find what is here already. Raises Refused if anything else is."""
        try:
            here = {entry.path: entry.size for entry in entries(self._folder)} if self._folder.exists() else {}
        except Unfit as error:
            raise Refused(f"{error}.", hint="Name an empty folder.") from error
        parts = {name + _PART for name in self._files}
        strange = next((name for name in here if name not in self._files and name not in parts), None)
        if strange is not None:
            raise Refused(f"holds another file: {strange}.", hint="Name an empty folder.", where=str(self._folder))
        begun = [(name, size) for name, size in here.items() if name in self._files]
        longer = next((name for name, size in begun if size > self._files[name].size), None)
        asked = [(self._files[name].path, size) for name, size in begun] if longer is None else []
        theirs = self._ask("hash_prefixes", wants=asked)["sha256"] if asked else []
        ours = [_hash(self._folder / name) for name, _ in begun]
        other = longer or next(
            (name for (name, _), one, two in zip(begun, ours, theirs, strict=True) if one != two), None
        )
        if other is not None:
            raise Refused(
                f"{other} is another one than on {self._source.host}.",
                hint="Name an empty folder.",
                where=str(self._folder),
            )
        missing = self._source.size - sum(size for name, size in here.items())
        for (name, size), digest in zip(begun, ours, strict=True):
            if size == self._files[name].size:
                self._hashes[name] = digest
                self._there += size
            else:  # it has grown there since
                (self._folder / name).replace(self._folder / (name + _PART))
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if missing > free:
            raise Refused(f"needs {in_words(missing)}, {in_words(free)} are free.", where=str(self._folder))

    def _wants(self) -> list[tuple[str, int]]:
        """Return which files lack, and from which byte on."""
        wants = []
        self._there = sum(self._files[name].size for name in self._hashes)
        for name, entry in self._files.items():
            if name not in self._hashes:
                part = self._folder / (name + _PART)
                part.parent.mkdir(parents=True, exist_ok=True)
                offset = part.stat().st_size if part.exists() else 0
                if offset > entry.size:
                    part.unlink()
                    offset = 0
                wants.append((name, offset))
                self._there += offset
        self._tally.set(self._source.host, self._there)
        return wants

    def _count(self, count: int) -> None:
        self._there += count
        self._copied += count
        self._tally.set(self._source.host, self._there)

    def _ask(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        return self._source.session.ask(operation, seconds=None, path=self._source.path, **arguments)


class _Writer:
    """Writes the pieces that a node sends into parts, and names a part when it is whole and right."""

    def __init__(self, folder: Path, names: Sequence[str], hashes: dict[str, str], count: Any) -> None:
        self._folder, self._names, self._hashes, self._count = folder, names, hashes, count
        self._file: IO[bytes] | None = None
        self._digest = hashlib.sha256()

    def hear(self, header: Mapping[str, Any], data: bytes) -> None:
        """Take an answer of the node."""
        if "file" not in header:
            return
        name = self._names[int(header["file"])]
        target, part = self._folder / name, self._folder / (name + _PART)
        if self._file is None:
            self._digest = hashlib.sha256()
            if part.exists():
                self._digest = _hashed(part)
            self._file = part.open("ab")
        if data:
            self._file.write(data)
            self._digest.update(data)
            self._count(len(data))
        if "sha256" in header:
            self._file.close()
            self._file = None
            if header["sha256"] == self._digest.hexdigest():
                part.replace(target)
                self._hashes[name] = header["sha256"]
            else:
                part.unlink()


def _look(session: NodeSession, host: str, path: str) -> Source:
    answer = session.ask("listing", seconds=None, path=path)
    if answer["files"] is None:
        raise NotFound(f"{path} is not there.", where=host)
    files = [Entry(*entry) for entry in answer["files"]]
    try:
        for entry in files:
            require_below(entry.path, folder=bool(answer["folder"]))
    except Unfit as error:  # a node must not write anywhere else on this machine
        raise RunFailed(f"{error}.", where=host) from error
    return Source(session, host, path, files, bool(answer["folder"]))


def _seen_here(path: str) -> str | None:
    try:
        return stamp(entries(Path(path).expanduser()))
    except (OSError, Unfit):
        return None


def _hashed(path: Path) -> hashlib._Hash:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest


def _hash(path: Path) -> str:
    return _hashed(path).hexdigest()
