"""Vectors taken over from an index that has them already: equal texts are not embedded twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import Refused
from engine.rag.manifest import EmbedderUsed
from engine.rag.opening import OpenIndex, open_index
from engine.rag.segments import Segment


def known_rows(segment: Segment, base: Path, embedder: EmbedderUsed) -> NDArray[np.int64]:
    """Return (row, row of the base) of each chunk whose text the base has a vector of: int64 [known, 2], ascending.

    Raises:
        NotFound, InvalidInput: if the base is no index, or damaged.
        Refused: if it was made by another embedder, or has no vectors.
    """
    return rows_with(segment.texts(), open_index(base), embedder)


def rows_with(texts: Iterable[str], base: OpenIndex, embedder: EmbedderUsed) -> NDArray[np.int64]:
    """Return (number of the text, row of the base) of each text that the base has a vector of (see `known_rows`)."""
    require_same_embedder(base, embedder)
    rows_by_text = {_digest(base.chunk(int(row)).text): int(row) for row in base.live_rows()[::-1]}
    pairs = [(number, row) for number, text in enumerate(texts) if (row := rows_by_text.get(_digest(text))) is not None]
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


def require_same_embedder(base: OpenIndex, embedder: EmbedderUsed) -> None:
    """Raise Refused if the vectors of an index are not what the embedder would make."""
    used = base.manifest.embedder
    if used is None:
        raise Refused("has no vectors to take over.", hint="Leave out base.", where=str(base.folder))
    if used.fingerprint != embedder.fingerprint or used.precision != embedder.precision:
        raise Refused(
            f"was made with {used.name} in {used.precision} ({used.fingerprint[:8]}), not with {embedder.name} in "
            f"{embedder.precision} ({embedder.fingerprint[:8]}).",
            hint="Leave out base, or set embedder to what made it.",
            where=str(base.folder),
        )


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
