"""The vectors nearest to a query: exact search, and the order of what was found, with nothing but numpy.

Scores are inner products in float64, rounded to float32: they depend on the two vectors alone, not on how many
queries are asked at once, nor on the index that found the vector. So equal vectors have equal scores, and ties are
broken by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.vectors.vector_rows import Floats, Rows, VectorRows

# How far inner products of unit vectors in float32 lie apart when they are summed in another order.
ROUNDING = 2e-6
_PIECE = 8_192  # rows that are compared at once
_QUERIES = 256  # queries that are compared at once


def nearest(vectors: VectorRows, queries: Floats, k: int, rows: Rows | None = None) -> tuple[Floats, Rows]:
    """Search exactly.

    Args:
        vectors: what is searched.
        queries: float32 [q, dimension].
        k: how many are wanted for each.
        rows: the only rows that count, ascending; None: all.

    Returns:
        Scores float32 [q, k], best first, padded with -inf, and rows int64 [q, k], padded with -1.
    """
    found = padded(len(queries), k)
    for first in range(0, len(queries), _QUERIES):
        some = queries[first : first + _QUERIES]
        for place, candidates in enumerate(_candidates(vectors, some, k, rows)):
            write(found, first + place, *best(vectors, some[place], candidates, k))
    return found


def padded(queries: int, k: int) -> tuple[Floats, Rows]:
    """Return scores and rows of nothing found."""
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), -1, np.int64)


def write(found: tuple[Floats, Rows], place: int, scores: Floats, rows: Rows) -> None:
    """Put what was found for one query in its place."""
    found[0][place, : len(scores)] = scores
    found[1][place, : len(rows)] = rows


def best(vectors: VectorRows, query: Floats, candidates: Rows, k: int) -> tuple[Floats, Rows]:
    """Return scores and rows of the best k of a query's candidates [n]: by score, then by row.

    Raises InvalidInput if a vector holds NaN.
    """
    scores = exact_scores(vectors.take(candidates), query)
    if not np.isfinite(scores).all():
        row = int(candidates[~np.isfinite(scores)].min())
        raise InvalidInput(f"Vector {row} holds NaN or infinity.", hint="Its file is damaged: build the index again.")
    order = np.lexsort((candidates, -scores))[:k]
    return scores[order], candidates[order]


def exact_scores(vectors: Floats, query: Floats) -> Floats:
    """Return the inner products [n] of vectors [n, dimension] with one query [dimension]."""
    products: NDArray[np.float64] = vectors.astype(np.float64) * query.astype(np.float64)
    return products.sum(axis=1).astype(np.float32)


def slack(query: Floats) -> float:
    """Return how far the scores of a query may be off in float32."""
    return ROUNDING * max(1.0, float(np.linalg.norm(query)))


def _candidates(vectors: VectorRows, queries: Floats, k: int, rows: Rows | None) -> list[Rows]:
    """Return, for each query, the rows that may be among the best k: more than k where scores are nearly equal."""
    slacks = np.array([slack(query) for query in queries], np.float32)
    kept = [(np.empty(0, np.float32), np.empty(0, np.int64)) for _ in queries]
    count = vectors.rows if rows is None else len(rows)
    for first in range(0, count, _PIECE):
        stop = min(first + _PIECE, count)
        here = np.arange(first, stop) if rows is None else rows[first:stop]
        piece = vectors.between(first, stop) if rows is None else vectors.take(here)
        for place, scores in enumerate(queries @ piece.T):
            kept[place] = _keep(kept[place], scores, here, k, slacks[place])
    return [kept_rows for _, kept_rows in kept]


def _keep(kept: tuple[Floats, Rows], scores: Floats, rows: Rows, k: int, slack: float) -> tuple[Floats, Rows]:
    """Add the rows of a piece, and keep those whose score is not clearly below the k-th best; NaN stays, to be told."""
    scores, rows = np.concatenate([kept[0], scores]), np.concatenate([kept[1], rows])
    if len(scores) <= k:
        return scores, rows
    least = np.partition(scores, len(scores) - k)[len(scores) - k] - 2 * slack
    good = ~(scores < least)
    return scores[good], rows[good]
