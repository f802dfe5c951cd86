"""A build in a process of its own, watched from outside: when each part of it begins, and what it uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
# What the build has written when it begins to read, to embed, to assemble, and when the index is there.
_MARKS = ("work/calibration.json", "work/prepared", "work/vectors.npy", "index")


@dataclass(frozen=True)
class Took:
    """Seconds."""

    wall: float
    cpu: float  # user and system, of all threads

    def __sub__(self, other: Took) -> Took:
        return Took(self.wall - other.wall, self.cpu - other.cpu)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f} CPU s)"


@dataclass(frozen=True)
class Built:
    """What a build took."""

    index: Path
    chunks: int
    precision: str
    reading: Took  # documents read and cut
    embedding: Took
    assembling: Took
    process: Took  # with loading
    peak: float  # bytes
    metrics: Mapping[str, float]  # the last of each

    @property
    def whole(self) -> Took:
        """From the first document to the index."""
        parts = (self.reading, self.embedding, self.assembling)
        return Took(sum(part.wall for part in parts), sum(part.cpu for part in parts))


def python_path() -> str:
    """Return where a process that is started from here finds this repository, and what this one has found."""
    return os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])


def started(spec: Path, run: Path, environ: Mapping[str, str], *settings: str) -> subprocess.Popen[bytes]:
    """Start a build. settings: KEY=VALUE, in place of the spec's."""
    command = [sys.executable, "-m", "engine.cli", "rag", "build", str(spec), "--run-dir", str(run)]
    command += [word for setting in settings for word in ("--set", setting)]
    with run.with_name(f"{run.name}.log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | dict(environ), stdout=log, stderr=log)


def watched(spec: Path, run: Path, environ: Mapping[str, str], *settings: str) -> Built:
    """Build to the end. Raises SystemExit, with what the build has said, if it failed."""
    began = time.monotonic()
    process = started(spec, run, {"PYTHONPATH": python_path(), **environ}, *settings)
    at: list[Took] = []
    while len(at) < len(_MARKS) and not _has_ended(process.pid):
        if (run / _MARKS[len(at)]).exists():
            at.append(Took(time.monotonic() - began, _processor_seconds(process.pid)))
        else:
            time.sleep(0.01)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or len(at) < len(_MARKS):
        raise SystemExit(f"the build ended with {process.returncode}: {run.with_name(f'{run.name}.log').read_text()}")
    manifest = json.loads((run / "index" / "manifest.json").read_text())
    return Built(
        index=run / "index",
        chunks=manifest["counts"]["chunks"],
        precision=manifest["embedder"]["precision"],
        reading=at[1] - at[0],
        embedding=at[2] - at[1],
        assembling=at[3] - at[2],
        process=Took(time.monotonic() - began, usage.ru_utime + usage.ru_stime),
        peak=usage.ru_maxrss * 1024.0,
        metrics=_last_metrics(run),
    )


def _last_metrics(run: Path) -> dict[str, float]:
    last: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        last |= record.get("metrics", {})
    return last


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, which is still to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _processor_seconds(pid: int) -> float:
    """Return what a process, and the children that it has waited for, have used."""
    numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, numbers[11:15])) / os.sysconf("SC_CLK_TCK")
