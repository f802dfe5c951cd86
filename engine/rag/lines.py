"""Lines of JSON with the place of each: written in a stream, read at random without reading the rest."""

from __future__ import annotations

import json
import mmap
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from engine.errors import InvalidInput
from engine.rag.arrays import load_array


def offsets_file(file: Path) -> Path:
    """Return the file with the offsets of a file of lines."""
    return file.with_suffix(".npy")


class LineWriter:
    """Writes FILE.jsonl, and beside it FILE.npy: int64 [lines + 1], where each line begins and the last one ends."""

    def __init__(self, file: Path) -> None:
        self._path, self._file = file, file.open("wb")
        self._offsets = array("q", [0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        np.save(offsets_file(self._path), np.frombuffer(self._offsets, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def append(self, values: Mapping[str, Any]) -> None:
        """Write one line."""
        line = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))


class Lines:
    """What a LineWriter wrote, memory-mapped.

    Raises:
        InvalidInput: if the two files do not belong together.
    """

    def __init__(self, file: Path) -> None:
        self._path = file
        self.offsets = load_array(offsets_file(file), np.int64)
        try:
            with file.open("rb") as content:
                size = file.stat().st_size
                self._content = mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        except (OSError, ValueError) as error:
            raise InvalidInput(f"is damaged: {error}.", where=str(file)) from error
        if not len(self.offsets) or int(self.offsets[-1]) != size:
            raise InvalidInput("is damaged: its length is not what was written.", where=str(file))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, number: int) -> dict[str, Any]:
        try:
            values = json.loads(self._content[int(self.offsets[number]) : int(self.offsets[number + 1])])
        except (ValueError, RecursionError) as error:
            raise self.damaged(number) from error
        if not isinstance(values, dict):
            raise self.damaged(number)
        return values

    def damaged(self, number: int) -> InvalidInput:
        """Return what to raise where a line does not hold what was written."""
        return InvalidInput(f"line {number + 1} is damaged.", hint="Build the index again.", where=str(self._path))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))
