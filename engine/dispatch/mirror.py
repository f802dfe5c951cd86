"""Byte-for-byte copies of a run's files on this machine. The size of a copy is the cursor: there is no other record."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from engine.cluster.node.following import RESULTS
from engine.errors import RunFailed
from engine.telemetry.records import FACT_FILES

_NAME = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,100}"
_NODE_FILE = re.compile(rf"attempt-[1-9][0-9]{{0,8}}/node-[0-9]{{1,8}}/{_NAME}")
_RESULT = re.compile(rf"{RESULTS}/{_NAME}")


class OffsetMismatch(Exception):
    """A piece does not continue the copy; ask for the file again from `size`."""

    def __init__(self, file: str, size: int) -> None:
        super().__init__(f"the copy of {file} ends at byte {size}")
        self.file, self.size = file, size


class Mirror:
    """The copies of one experiment's files, at the same relative paths as in its run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_original(self, run_dir: str) -> bool:
        """Whether the run directory on this machine is the mirror itself, so that nothing is copied."""
        return Path(run_dir).resolve() == self.folder.resolve()

    def sizes(self, attempt: int, node: int) -> dict[str, int]:
        """Return the size in bytes of what node `node` of an attempt writes, as far as it is here."""
        return {str(file.relative_to(self.folder)): file.stat().st_size for file in self._present(attempt, node)}

    def log_end(self, attempt: int, node: int, rank: int, size: int = 8192) -> str:
        """Return the last bytes of a rank's log, as far as it is here."""
        path = self.folder / f"attempt-{attempt}" / f"node-{node}" / f"rank-{rank}.log"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - size))
                return file.read().decode("utf-8", "replace")
        except OSError:
            return ""

    def _present(self, attempt: int, node: int) -> Iterator[Path]:
        if node == 0:
            yield from (path for name in FACT_FILES if (path := self.folder / name).is_file())
            yield from _files(self.folder / RESULTS)
        yield from _files(self.folder / f"attempt-{attempt}" / f"node-{node}")

    def append(self, file: str, offset: int, data: bytes, *, restarted: bool = False, skipped: int = 0) -> None:
        """Add a piece to the end of a copy.

        Args:
            file: path in the run directory.
            offset: of the piece's first byte in the original.
            data: the piece.
            restarted: the original was truncated, or is another file now: the copy begins anew.
            skipped: bytes before the piece that were not sent; the copy has a hole there, which reads as zeros.

        Raises:
            OffsetMismatch: if the copy does not end where the piece begins; nothing is written then.
            RunFailed: if the path is none that a run has; a node must not write anywhere else on this machine.
            OSError: if it cannot be written; what was written counts, for the size says so.
        """
        path = self.folder / self._checked(file)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            if restarted:
                os.ftruncate(descriptor, 0)
            size = os.fstat(descriptor).st_size
            if size != offset - skipped:
                raise OffsetMismatch(file, size)
            if skipped:
                os.ftruncate(descriptor, offset)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)

    @staticmethod
    def _checked(file: str) -> PurePosixPath:
        if file not in FACT_FILES and not _NODE_FILE.fullmatch(file) and not _RESULT.fullmatch(file):
            raise RunFailed(f"a node sent a file that no run has: {file[:200]!r}.")
        return PurePosixPath(file)


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if path.is_file())
