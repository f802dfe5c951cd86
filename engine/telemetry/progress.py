"""Where a rank is: one line of fixed size in a file of its own, written over at every phase of every step.

An agent cannot otherwise tell a frozen rank from a slow one. The time is CLOCK_MONOTONIC's, which all processes of a
machine have in common and no one can set. Nodes get this file as a source: the standard library of Python 3.9 alone.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

FOLDER_VARIABLE = "PLUMBLINE_NODE_FOLDER"  # where the node's agent works; it sets this for its ranks
_LINE = "%12d %-24.24s %24.6f\n"
LINE_BYTES = 63


class Progress(NamedTuple):
    """The last mark of a rank."""

    step: int  # that it is in; 0 before the first
    phase: str
    at: float  # monotonic seconds of the machine that the rank runs on


def progress_file(folder: Path, rank: int) -> Path:
    """Return where a rank leaves its marks, in the folder of its node's agent."""
    return folder / f"rank-{rank}.progress"


class ProgressMark:
    """Marks where this rank is. Without a folder it only remembers; a disk that fails is no reason to stop.

    Arguments:
        folder: of the node's agent; None: nobody looks.
        rank: whose marks these are.
    """

    def __init__(self, folder: Path | None, rank: int) -> None:
        self.step, self.phase = 0, ""
        self._descriptor: int | None = None
        if folder is not None:
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
                self._descriptor = os.open(progress_file(folder, rank), flags, 0o644)

    @classmethod
    def of_environment(cls, environ: Mapping[str, str] = os.environ) -> ProgressMark:
        """Return the marks of this process, by what its agent has set."""
        folder = environ.get(FOLDER_VARIABLE)
        return cls(Path(folder) if folder else None, int(environ.get("RANK", "0")))

    def mark(self, step: int, phase: str) -> None:
        """Say that `phase` of a step begins, in some microseconds."""
        self.step, self.phase = step, phase
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, (_LINE % (step, phase, time.monotonic())).encode(), 0)

    def close(self) -> None:
        """Let the file go; what it says stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_progress(path: Path) -> Progress | None:
    """Return the last mark in a file; None if there is none."""
    try:
        with path.open("rb") as file:
            line = file.read(LINE_BYTES + 1)
        step, phase, at = line.decode().split()
        return Progress(int(step), phase, float(at)) if len(line) == LINE_BYTES else None
    except (OSError, ValueError):
        return None
