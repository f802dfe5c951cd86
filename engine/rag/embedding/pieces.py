"""The rows of a segment that are to be embedded, dealt into blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.rag.embedding.blocks import BlockEncoder, block_key
from engine.rag.segments import Segment


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A block: rows of the segment, and the name of the file with their vectors."""

    rows: NDArray[np.int64]
    key: str


def pieces_of(segment: Segment, wanted: NDArray[np.int64], size: int, encoder: BlockEncoder) -> list[Piece]:
    """Return the blocks of the rows that are to be embedded."""
    return [
        Piece(rows, block_key([segment.text(int(row)) for row in rows], encoder))
        for start in range(0, len(wanted), size)
        if len(rows := np.asarray(wanted[start : start + size]))
    ]


def with_texts(segment: Segment, pieces: Iterable[Piece]) -> Iterator[tuple[str, list[str]]]:
    """Yield the key and the texts of each block, as `embed_blocks` takes them."""
    return ((piece.key, [segment.text(int(row)) for row in piece.rows]) for piece in pieces)
