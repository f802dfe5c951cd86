"""Whose run directory is whose: one folder that all ranks see, or, without a shared file system, one a node.

A folder is called by its main: the lowest rank that sees it, which alone makes, renames and removes things in it.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import Refused
from engine.job import durable

if TYPE_CHECKING:
    from engine.job.runtime import Runtime

# How long a network file system may take to show a new file to another node.
_VISIBLE_SECONDS = 5.0
_PIECE_BYTES = 1 << 24
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Folders:
    """The run directories of the ranks."""

    mains: tuple[int, ...]  # by rank: the main of the folder that it sees
    hosts: tuple[str, ...]  # by rank: the name of its machine

    @classmethod
    def one(cls, world_size: int) -> Folders:
        """Return what a run has whose ranks all see one folder, or that uses none."""
        return cls((0,) * world_size, ("",) * world_size)

    @property
    def are_several(self) -> bool:
        """Whether some rank does not see what another one writes."""
        return len(set(self.mains)) > 1

    def ranks_of(self, main: int) -> tuple[int, ...]:
        """Return the ranks that see the folder of a main."""
        return tuple(rank for rank, other in enumerate(self.mains) if other == main)

    def by_main(self) -> dict[int, Place]:
        """Return where each folder is, by its main, in the order of the mains."""
        return {main: Place(self.hosts[main], self.ranks_of(main)) for main in sorted(set(self.mains))}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder to people: the host of its main, and the ranks that see it."""

    host: str
    ranks: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.host} ({_told(self.ranks)})"


ALONE = Folders.one(1)  # as one rank has it


def _told(ranks: Sequence[int]) -> str:
    """Return `rank 3`, `ranks 0-3` or `ranks 0, 2`."""
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if tuple(ranks) == tuple(range(ranks[0], ranks[-1] + 1)):
        return f"ranks {ranks[0]}-{ranks[-1]}"
    return f"ranks {', '.join(map(str, ranks))}"


def learned(run_dir: Path, runtime: Runtime) -> Runtime:
    """Find out which ranks see the same run directory, and return the runtime that knows. Called by all together.

    Under one kernel, device and inode tell. What other kernels see, files tell that the lowest rank of each folder
    writes; a network file system may need seconds to show them.

    Raises:
        Refused: if ranks do not agree on who sees what.
    """
    status = run_dir.stat()
    kernel = _BOOT_ID.read_text() if _BOOT_ID.is_file() else socket.gethostname()
    views = runtime.from_all((kernel, status.st_dev, status.st_ino, socket.gethostname()))
    keys = [view[:3] for view in views]
    writers = sorted({keys.index(key) for key in keys})
    token = runtime.from_main(secrets.token_hex(8))
    files = {rank: run_dir / f".seen-{token}-{rank}" for rank in writers}
    if runtime.rank in files:
        files[runtime.rank].touch()
    runtime.barrier()
    own = keys.index(keys[runtime.rank])
    lower = [files[rank] for rank in writers if rank < own and keys[rank][0] != kernel]
    _await_first(lower)
    seen = [rank for rank in writers if files[rank].exists()]
    mains = tuple(runtime.from_all(seen[0] if seen else own))
    if runtime.rank in files:
        files[runtime.rank].unlink()
    folders = Folders(mains, tuple(view[3] for view in views))
    _require_agreement(folders, run_dir)
    return replace(runtime, folders=folders)


def _await_first(files: Sequence[Path]) -> None:
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while files and not files[0].exists() and time.monotonic() < deadline:
        time.sleep(0.1)


def _require_agreement(folders: Folders, run_dir: Path) -> None:
    for rank, main in enumerate(folders.mains):
        if folders.mains[main] != main:
            raise Refused(
                f"the nodes do not agree on who shares the run directory: rank {rank} ({folders.hosts[rank]}) sees "
                f"what rank {main} ({folders.hosts[main]}) writes, which sees what rank {folders.mains[main]} writes.",
                hint="Put the work directory on a file system that shows all nodes the same, or give each its own.",
                where=str(run_dir),
            )


def copy_from_main(folder: Path, runtime: Runtime) -> None:
    """Have a folder that rank 0 has in its run directory in all others too. Called by all ranks together.

    Files travel in pieces, so that large ones need no memory.
    """
    if not runtime.folders.are_several:
        runtime.barrier()
        return
    listing = runtime.from_main(_listing(folder) if runtime.is_main else None)
    wants = runtime.is_folder_main and not runtime.is_main and _listing(folder) != listing
    if any(runtime.from_all(wants)):
        temporary = folder.with_name(f".tmp-{folder.name}")
        if wants:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
        for name, (size, _) in listing.items():
            _travel(folder / name if runtime.is_main else None, temporary / name if wants else None, size, runtime)
        if wants:
            durable.replace_folder(temporary, folder)
    runtime.barrier()


def _travel(source: Path | None, target: Path | None, size: int, runtime: Runtime) -> None:
    """Send a file from rank 0, which has `source`, to the ranks that have a `target`."""
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(source.open("rb")) if source is not None else None
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
        write = stack.enter_context(target.open("wb")) if target is not None else None
        for start in range(0, size, _PIECE_BYTES):
            piece = runtime.bytes_from_main(
                read.read(_PIECE_BYTES) if read is not None else None, min(_PIECE_BYTES, size - start)
            )
            if write is not None:
                write.write(piece)


def _listing(folder: Path) -> dict[str, tuple[int, str]]:
    """Return size and SHA-256 of each file by its path below the folder."""
    found = {}
    for file in durable.files_below(folder):
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        found[file.relative_to(folder).as_posix()] = (file.stat().st_size, digest)
    return found
