"""What runs write on this node, sent as it grows, and where each agent stands.

Fact files are sent whole, and so are the results of an evaluation if they are not too large; logs within bounds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.cluster.node.launching import agent_phase, expand, node_folder
from engine.cluster.node.slurm import Watch

PIECE_BYTES = 64 * 1024
PIECES_AT_ONCE = 16  # of one file, before requests and the other files get their turn
LOG_BACKLOG_BYTES = 4 << 20  # of a log that waits; of more than that only the end is sent
LOG_END_BYTES = 1 << 20
FACTS = ("metrics.jsonl", "events.jsonl", "samples.jsonl")
RESULTS = "evaluation"  # the folder that an evaluation leaves, put there whole
RESULT_BYTES = 64 << 20  # of larger ones nothing is sent

Send = Callable[[Mapping[str, Any], bytes], None]


@dataclass
class _Followed:
    """A run whose files are sent as they grow."""

    key: str
    run_dir: Path
    folder: Path
    facts: bool  # rank 0 is here
    copy: bool  # false: the files lie on the dispatcher's own machine already
    sizes: dict[str, int]  # bytes that the dispatcher has, by path in the run directory
    turn: int  # the how many-th request to follow it this is
    phase: tuple[str, Any, Any] | None = None
    pulse: int = 0  # modification time of the heartbeat that was sent last, nanoseconds
    drained: bool = False
    inodes: dict[str, int] = field(default_factory=dict)
    left_out: int = 0  # bytes of results that were told to be too large

    def files(self) -> Iterator[str]:
        """Yield the files that are followed."""
        if self.facts:
            yield from FACTS
            yield from self.results()
        for path in sorted(self.folder.glob("*.log")):
            yield str(path.relative_to(self.run_dir))

    def results(self) -> Sequence[str]:
        """Return the files of an evaluation that are sent; none while there are none, or if they are too large."""
        files, size = self._results()
        return files if size <= RESULT_BYTES else ()

    def results_too_large(self) -> int:
        """Return the bytes of results of which nothing is sent; 0 if there are none, or that was said."""
        size = self._results()[1] if self.facts and self.copy else 0
        if size <= RESULT_BYTES or size == self.left_out:
            return 0
        self.left_out = size
        return size

    def _results(self) -> tuple[Sequence[str], int]:
        files, size = [], 0
        try:
            with os.scandir(self.run_dir / RESULTS) as found:
                for entry in sorted(found, key=lambda entry: entry.name):
                    if entry.is_file(follow_symlinks=False):
                        files.append(f"{RESULTS}/{entry.name}")
                        size += entry.stat().st_size
        except OSError:  # there is none, or it is just being replaced
            return (), 0
        return files, size


class Following:
    """The runs that a dispatcher follows over one connection."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._followed: dict[str, _Followed] = {}
        self._slurm = Watch()

    def follow(
        self, *, run: str, run_dir: str, attempt: int, node: int, sizes: dict[str, int], copy: bool, turn: int = 0
    ) -> None:
        """Send what an attempt writes here, from the given sizes on, and where its agent stands.

        turn: comes back when all is sent, which must not be taken for the answer to an earlier request.
        """
        home = expand(run_dir)
        folder = node_folder(home, attempt, node)
        self._followed[run] = _Followed(run, home, folder, node == 0, copy, dict(sizes), turn)

    def unfollow(self, run: str) -> None:
        """Send no more of a run."""
        followed = self._followed.pop(run, None)
        if followed is not None:
            self._slurm.forget(followed.folder)

    def tell_again(self, folder: Path) -> None:
        """Say once more where the agent of a node folder stands: whoever asked for a start waits for it."""
        for followed in list(self._followed.values()):
            if followed.folder == folder:
                followed.phase = None

    def send_new(self) -> bool:
        """Send what is new of every run, a bounded piece of each; return whether there is more."""
        return any([self._send_run(followed) for followed in list(self._followed.values())])

    def _send_run(self, followed: _Followed) -> bool:
        slurms = Watch.concerns(followed.folder)
        phase = self._slurm.where(followed.folder) if slurms else (*agent_phase(followed.folder), None)
        if phase != followed.phase:
            followed.phase = phase
            self._send({"run": followed.key, "phase": phase[0], "exit": phase[1], "slurm": phase[2]}, b"")
        if phase[0] == "alive":
            self._send_pulse(followed)
        if size := followed.results_too_large():
            self._send({"run": followed.key, "left_out": size, "bound": RESULT_BYTES}, b"")
        more = False
        if followed.copy and not followed.drained:
            more = any([self._send_file(followed, name) for name in followed.files()])
        # The phase was read before the files, so nothing was written after what was sent.
        if phase[0] in ("exited", "gone") and not more and not followed.drained:
            followed.drained = True
            self._send({"run": followed.key, "drained": True, "turn": followed.turn}, b"")
        return more

    def _send_pulse(self, followed: _Followed) -> None:
        """Send how the ranks stand, whenever the agent has written it anew."""
        path = followed.folder / "heartbeat.json"
        try:
            written = path.stat().st_mtime_ns
            if written == followed.pulse:
                return
            pulse = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        followed.pulse = written
        self._send({"run": followed.key, "pulse": pulse}, b"")

    def _send_file(self, followed: _Followed, name: str) -> bool:
        try:
            file = (followed.run_dir / name).open("rb")
        except OSError:
            return False
        with file:
            status = os.fstat(file.fileno())
            offset = followed.sizes.get(name, 0)
            replaced = followed.inodes.setdefault(name, status.st_ino) != status.st_ino
            restarted = status.st_size < offset or replaced
            if restarted:
                offset = 0
                followed.inodes[name] = status.st_ino
            skipped = 0
            if name.endswith(".log") and status.st_size - offset > LOG_BACKLOG_BYTES:
                skipped = status.st_size - LOG_END_BYTES - offset
                offset += skipped
            file.seek(offset)
            for _ in range(PIECES_AT_ONCE):
                data = file.read(PIECE_BYTES)
                if not data and not restarted:
                    return False
                header = {"run": followed.key, "file": name, "offset": offset, "restarted": restarted}
                self._send({**header, "skipped": skipped, "size": len(data)}, data)
                restarted, skipped = False, 0
                offset += len(data)
                followed.sizes[name] = offset
            return True
