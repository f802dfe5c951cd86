"""Vectors in several blocks, memory-mapped, seen as the rows of one matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

_UNIT = 1e-2  # how far the length of a vector may be from 1


class VectorRows:
    """Blocks of float32 [rows of the block, dimension], one below the other; only what is asked for is read."""

    def __init__(self, blocks: Sequence[NDArray[np.float32]], dimension: int) -> None:
        """Take the blocks, of arrays or memory maps. Raises InvalidInput if one has another shape or type."""
        for number, block in enumerate(blocks):
            if block.ndim != 2 or block.shape[1] != dimension or block.dtype != np.float32:
                shape = f"{block.dtype} {list(block.shape)}"
                raise InvalidInput(f"Block {number} of the vectors is {shape}, not float32 [rows, {dimension}].")
        self.dimension = dimension
        self._blocks = [np.asarray(block) for block in blocks if len(block)]  # plain views read faster than np.memmap
        self._starts = np.cumsum([0, *(len(block) for block in self._blocks)], dtype=np.int64)

    @property
    def rows(self) -> int:
        """Rows of all blocks."""
        return int(self._starts[-1])

    def take(self, rows: NDArray[Any]) -> Floats:
        """Return a copy of the given rows [n], in their order: [n, dimension]."""
        taken = np.empty((len(rows), self.dimension), np.float32)
        blocks = np.searchsorted(self._starts, rows, side="right") - 1
        for block in np.unique(blocks):
            here = blocks == block
            taken[here] = self._blocks[block][rows[here] - self._starts[block]]
        return taken

    def between(self, start: int, stop: int) -> Floats:
        """Return a copy of rows `start` to `stop`: [stop - start, dimension]."""
        taken = np.empty((stop - start, self.dimension), np.float32)
        for number, block in enumerate(self._blocks):
            low, high = max(start, int(self._starts[number])), min(stop, int(self._starts[number + 1]))
            if low < high:
                taken[low - start : high - start] = block[low - self._starts[number] : high - self._starts[number]]
        return taken

    def pieces(self, size: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, Floats]]:
        """Yield (first row, copy of at most `size` rows), in order."""
        stop = self.rows if stop is None else stop
        for first in range(start, stop, size):
            yield first, self.between(first, min(first + size, stop))


def check_unit(vectors: Floats, rows: Rows) -> None:
    """Refuse vectors that are not finite or not of unit length. Raises InvalidInput, naming the first row."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = ~(np.abs(lengths - 1) <= _UNIT)  # so that NaN is wrong
    if wrong.any():
        place = int(np.argmax(wrong))
        length = lengths[place]
        what = f"has length {length:.3g}, not 1" if np.isfinite(length) else "holds NaN or infinity"
        raise InvalidInput(
            f"Vector {int(rows[place])} {what}.", hint="Embed its chunk again, normalised, before it is indexed."
        )
