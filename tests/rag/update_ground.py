"""Processes that update an index and are killed at it. Run as a program: no torch, and so safe to fork."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.rag import updating
from engine.rag.chunks.tokens import WordCounter
from engine.rag.embedding.embedder import Batch
from tests.rag.making import make_index, spec_of, write_rows

SIZE, DIMENSION = 5, 8
WORDS = [f"w{number}" for number in range(500)]


class Embedder:
    """Gives every text a direction of its own; writes down what it embeds where a kill does not reach it."""

    name, fingerprint, precision = "ground", "ground", "fp32"
    dimension, max_tokens = DIMENSION, 1000
    query_prompt = passage_prompt = ""

    def __init__(self, log: int | None = None, pause: float = 0.0) -> None:
        self._log, self._pause = log, pause

    def counter(self) -> WordCounter:
        return WordCounter()

    def truncated(self, _texts: Sequence[str]) -> list[int]:
        return []

    def encode_passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        drawn = [np.random.default_rng(zlib.crc32(text.encode())).normal(size=DIMENSION) for text in texts]
        return np.asarray([each / np.linalg.norm(each) for each in drawn], np.float32)

    def passage_blocks(
        self, blocks: Iterable[tuple[Any, Sequence[str], NDArray[np.bool_]]], _ended: Callable[[], bool]
    ) -> Generator[tuple[Any, Batch | None], None, None]:
        for tag, texts, done in blocks:
            rows = np.flatnonzero(~done)
            for some in (rows[start : start + SIZE] for start in range(0, len(rows), SIZE)):
                embedded = [texts[row] for row in some]
                if self._log is not None:
                    os.write(self._log, (json.dumps(embedded) + "\n").encode())
                time.sleep(self._pause)
                yield tag, Batch(some.astype(np.int64), self.encode_passages(embedded), 0)
            yield tag, None


def main(folder: Path, kills: int) -> None:
    """Update one index in one go; kill so many processes at the same update of its twin, and let the last one end."""
    spec = spec_of(
        write_rows(folder / "a.jsonl", documents(0, 20)), folder, index={"factory": "Flat", "block_size": 64}
    )
    whole = make_index(folder / "whole", spec, cast(Any, Embedder()))
    killed = shutil.copytree(whole, folder / "killed")
    new = write_rows(folder / "b.jsonl", documents(15, 60))
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    in_one_go = updated(whole, new, Embedder())
    for number in range(kills):
        if (pid := os.fork()) == 0:
            updated(killed, new, Embedder(log, pause=0.004))
            os._exit(0)
        while (folder / "log").read_text().count("\n") < 6 * (number + 1):
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(pid, 0)[1]):
            raise SystemExit("a process ended before it was killed")
    print(json.dumps({"whole": in_one_go, "last": updated(killed, new, Embedder(log))}))


def documents(start: int, stop: int) -> dict[str, str]:
    """Documents of several chunks; the number decides over the text."""
    return {f"d{n}": " ".join(np.random.default_rng(n).choice(WORDS, 60).tolist()) for n in range(start, stop)}


def updated(index: Path, new: Path, embedder: Embedder) -> int:
    """Take documents in; return how many texts were embedded."""
    updating.require_embedder = cast(Any, lambda _index: embedder)
    return updating.update(index, add=new).embedded


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
