"""Writing so that a power cut leaves either the old state or the new one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def sync(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file and sync it."""
    with path.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the JSON object of a file; None if there is none, or it is damaged."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def files_below(folder: Path) -> Iterator[Path]:
    """Yield every plain file below a folder, in a stable order."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def sync_folders(folder: Path) -> None:
    """Sync the entries of a folder and of all folders below it."""
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync(path)
    sync(folder)


def sync_all(folder: Path) -> None:
    """Sync a folder and all files and folders below it."""
    for path in sorted(folder.rglob("*")):
        sync(path)
    sync(folder)


def replace_folder(new: Path, target: Path) -> None:
    """Rename `new` to `target`, in place of what was there; both lie in the same folder."""
    old = target.with_name(f".old-{target.name}")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    new.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is never seen half-removed under its name."""
    doomed = folder.with_name(f".old-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def folder_hash(folder: Path) -> str:
    """Return the SHA-256 over the names and SHA-256 sums of all files of a folder, as `sha256sum` lists them."""
    listing = hashlib.sha256()
    for file in files_below(folder):
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256")
        listing.update(f"{digest.hexdigest()}  {file.relative_to(folder)}\n".encode())
    return listing.hexdigest()
