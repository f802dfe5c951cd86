"""The code that an experiment was launched with, kept beside the database, whatever is edited later.

A snapshot is the package `engine` as it lies on disk, without what Python compiles. It is stored once, under its
SHA-256, as `<folder>/<sha256>/code/engine/…`, and travels to the nodes like every other object.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import engine
from engine.cluster.node.contents import Entry, Hashes, Unfit, describe, digest_of, entries, stamp
from engine.cluster.objects import HASHES
from engine.errors import Refused, RunFailed

PACKAGE = "engine"
_LATEST = "code.json"  # of which files the last snapshot was made, and its SHA-256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A version of the code. path: the folder that holds `engine/`, for PYTHONPATH."""

    sha256: str
    path: Path


def take_snapshot(folder: Path, package: Path | None = None) -> Snapshot:
    """Keep the code as it is now, unless it is kept already.

    Args:
        folder: of the objects of a database.
        package: null for the package that runs.

    Raises:
        RunFailed: if it cannot be read or written, or is edited at this very moment.
    """
    source = package or Path(str(engine.__file__)).parent
    try:
        listing = _sources(source)
        mark = stamp(listing)
        known = _latest(folder)
        if known.get("stamp") == mark and (kept := _kept(folder, str(known["sha256"]))) is not None:
            return kept
        files = [(f"{PACKAGE}/{entry.path}", (source / entry.path).read_bytes()) for entry in listing]
        if stamp(_sources(source)) != mark:
            raise RunFailed("the code is changed at this very moment.", hint="Launch again.", where=str(source))
        snapshot = _keep(folder, files)
        temporary = folder / f".{_LATEST}.{os.getpid()}"
        temporary.write_text(json.dumps({"stamp": mark, "sha256": snapshot.sha256}), encoding="utf-8")
        temporary.replace(folder / _LATEST)
    except OSError as error:
        raise RunFailed(f"the code cannot be kept: {error.strerror}.", where=str(error.filename or folder)) from error
    except Unfit as error:
        raise RunFailed(f"the code cannot be kept: {error}.") from error
    return snapshot


def find_snapshot(folder: Path, sha256: str) -> Snapshot:
    """Return the snapshot that an experiment was launched with. Raises Refused if it is gone or was changed."""
    kept = _kept(folder, sha256)
    if kept is None:
        raise Refused(
            "the code that it was launched with is gone, or was changed.",
            hint="Launch it anew: engine clone prints its spec.",
            where=str(folder / sha256),
        )
    return kept


def _kept(folder: Path, sha256: str) -> Snapshot | None:
    """Return a snapshot if it is whole, byte for byte."""
    path = folder / sha256 / "code"
    try:
        content = describe(path, Hashes(path.parent / HASHES))
    except (OSError, Unfit):
        return None
    return Snapshot(sha256, path) if content.sha256 == sha256 else None


def _sources(package: Path) -> Sequence[Entry]:
    """Return the files that belong to a package: not what Python or an editor leaves there."""
    return [
        entry
        for entry in entries(package)
        if not any(part.startswith(".") for part in entry.path.split("/")) and not entry.path.endswith((".pyc", "~"))
    ]


def _keep(folder: Path, files: Sequence[tuple[str, bytes]]) -> Snapshot:
    digest = digest_of((path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files)
    target, temporary = folder / digest, folder / f".{digest}.{os.getpid()}"
    for path, data in files:
        file = temporary / "code" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        file.chmod(0o444)
    if _kept(folder, digest) is None:
        shutil.rmtree(target, ignore_errors=True)  # it was damaged
    try:
        temporary.rename(target)
    except OSError:
        if not target.exists():  # else another process was faster
            raise
        shutil.rmtree(temporary)
    return Snapshot(digest, target / "code")


def _latest(folder: Path) -> dict[str, object]:
    try:
        known = json.loads((folder / _LATEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
