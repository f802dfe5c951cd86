"""Which rows of an index count in a search."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.vectors.vector_rows import Rows


@dataclass(frozen=True)
class Selection:
    """The rows that count."""

    mask: NDArray[np.bool_]  # [rows of the index]
    count: int

    @cached_property
    def rows(self) -> Rows:
        """The rows that count, ascending."""
        return np.flatnonzero(self.mask).astype(np.int64)

    @cached_property
    def bits(self) -> NDArray[np.uint8]:
        """The mask as faiss reads it: a bit a row, the lowest first."""
        return np.packbits(self.mask, bitorder="little")


def select(rows: int, allowed: NDArray[np.bool_] | None, removed: NDArray[np.int64] | None) -> Selection | None:
    """Return the rows that are allowed and not removed; None: all count.

    Args:
        rows: of the index.
        allowed: [rows], True where a row may be found; None: everywhere.
        removed: rows that no longer count; None: none.

    Raises:
        InvalidInput: the mask is of another index, or a removed row is of none.
    """
    if allowed is not None and (allowed.shape != (rows,) or allowed.dtype != np.bool_):
        raise InvalidInput(
            f"A filter is {allowed.dtype} {list(allowed.shape)}, not bool [{rows}] as the index has rows."
        )
    if removed is None or not len(removed):
        return None if allowed is None else Selection(allowed, int(allowed.sum()))
    if removed.min() < 0 or removed.max() >= rows:
        raise InvalidInput(
            f"Rows up to {int(removed.max())} are marked as removed, and the index has {rows}.",
            hint="Its files are of different builds: build it again.",
        )
    mask = np.ones(rows, np.bool_) if allowed is None else allowed.copy()
    mask[removed] = False
    return Selection(mask, int(mask.sum()))
