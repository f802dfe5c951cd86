"""Processes that embed a block, and are killed at it. Run as a program: no torch, and so safe to fork."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import RunFailed
from engine.rag.embedding.ahead import ahead
from engine.rag.embedding.blocks import block_key, embed_blocks
from engine.rag.embedding.embedder import Batch

TEXTS = [f"text {number}" for number in range(700)]
SIZE, DIMENSION = 7, 8


@dataclass
class Counting:
    """An embedder that takes its time, and remembers what it embedded; vectors tell of which text they are."""

    fingerprint: str = "counting"
    precision: str = "fp32"
    dimension: int = DIMENSION
    pause: float = 0.0
    ahead: int = 0  # batches that a thread embeds before they are taken, as for a GPU
    poisoned: frozenset[int] = frozenset()
    embedded: list[int] = field(default_factory=list)

    def passage_blocks(
        self, blocks: Iterable[tuple[Any, Sequence[str], NDArray[np.bool_] | None]], ended: Callable[[], bool]
    ) -> Generator[tuple[Any, Batch | None], None, None]:
        return ahead(self._embedded(blocks, ended), self.ahead, "embed")

    def _embedded(
        self, blocks: Iterable[tuple[Any, Sequence[str], NDArray[np.bool_] | None]], ended: Callable[[], bool]
    ) -> Generator[tuple[Any, Batch | None], None, None]:
        for tag, texts, done in blocks:
            for start in range(0, len(texts), SIZE):
                # Not in the order of the texts, as batches of like lengths are not.
                rows = np.array([n * 11 % len(texts) for n in range(start, min(start + SIZE, len(texts)))], np.int64)
                rows = rows if done is None else rows[~done[rows]]
                if not len(rows):
                    continue
                if ended():
                    return
                time.sleep(self.pause)
                self.note(rows)
                yield tag, Batch(rows, self.vectors(rows), 3 * len(rows))
            yield tag, None

    def note(self, rows: NDArray[np.int64]) -> None:
        self.embedded.extend(rows.tolist())

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.sin(np.outer(rows + 1, np.arange(1, self.dimension + 1))).astype(np.float32)
        found[[int(row) in self.poisoned for row in rows]] = np.nan
        return found


class Logging(Counting):
    """Writes down what it embeds where a kill does not reach it."""

    def note(self, rows: NDArray[np.int64]) -> None:
        os.write(3, (json.dumps(rows.tolist()) + "\n").encode())


def main(folder: Path, kills: int, depth: int) -> None:
    """Kill so many processes at one block, one more under a limit of the file's size, and let the last one end."""
    draw = random.Random(kills)
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 3)
    for _ in range(kills):
        if (pid := os.fork()) == 0:
            child(folder, depth)
        time.sleep(draw.uniform(0.0, 0.006))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit("a process ended before it was killed")
    if (pid := os.fork()) == 0:
        part = next(folder.glob("*.part"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size + 1000,) * 2)
        child(folder, depth)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if (pid := os.fork()) == 0:
        child(folder, depth)
    os.waitpid(pid, 0)
    print(json.dumps({"full": code}))


def child(folder: Path, depth: int) -> None:
    """Embed the block and leave: 0, or 9 with the sentence in a file."""
    encoder = Logging(pause=0.003, ahead=depth)
    wanted = [(block_key(TEXTS, encoder), TEXTS)]
    try:
        list(embed_blocks(encoder, wanted, folder, told=lambda *_: None, stop=lambda: False))
    except RunFailed as error:
        (folder.parent / "sentence").write_text(str(error))
        os._exit(9)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
