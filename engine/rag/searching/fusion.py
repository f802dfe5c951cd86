"""Several rankings made one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# How much less a first place counts: Cormack, Clarke & Büttcher 2009 (see below) found 60 in pilot runs and kept it.
RANK_CONSTANT = 60
# Of the cosine beside BM25, of 1: the larger one, as cosines of candidates lie closer together than their BM25 scores.
DENSE_SHARE = 0.8


def reciprocal_ranks(
    rankings: Sequence[NDArray[np.int64]], weights: Sequence[float] | None = None, constant: int = RANK_CONSTANT
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Fuse rankings by the sum of their reciprocal ranks.

    score(d) = Σ_r weight_r / (constant + rank_r(d)), ranks from 1, over the rankings that hold d (Cormack, Clarke &
    Büttcher, SIGIR 2009, "Reciprocal rank fusion outperforms Condorcet and individual rank learning methods").

    Args:
        rankings: rows, the best first, each at most once in a ranking; rows below 0 hold nothing, but count as ranks.
        weights: of each ranking; None: all 1.
        constant: of the formula.

    Returns:
        scores, descending, and all rows, ascending where scores are equal. The order of the rankings changes neither.
    """
    shares: dict[int, list[float]] = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings), strict=True):
        for rank, row in enumerate(ranking.tolist(), start=1):
            if row >= 0:
                shares.setdefault(row, []).append(weight / (constant + rank))
    rows = np.fromiter(shares, np.int64, len(shares))
    # Exactly rounded: in which order shares are added never parts two that are equal.
    scores = np.fromiter(map(math.fsum, shares.values()), np.float64, len(shares))
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]


def combined_scores(
    dense: tuple[NDArray[np.float32], NDArray[np.int64]],
    lexical: tuple[NDArray[np.float32], NDArray[np.int64]],
    share: float = DENSE_SHARE,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Fuse two rankings by their scores.

    score(d) = share · (cosine(d) + 1) / (best cosine + 1) + (1 − share) · BM25(d) / best BM25 (Bruch, Gai & Ingber, ACM
    TOIS 2023, "An analysis of fusion functions for hybrid retrieval", TM2C2). A row that only the lexical ranking holds
    counts as the last of the dense one, which it cannot be above; one that only the dense ranking holds has BM25 0.

    Args:
        dense: cosines, descending, and their rows.
        lexical: BM25 scores, descending, and their rows.
        share: of the cosine, 0 … 1.

    Returns:
        scores, descending, and all rows, ascending where scores are equal.
    """
    rows = np.union1d(dense[1], lexical[1])
    scores = np.zeros(len(rows))
    if len(dense[1]):
        near = (dense[0].astype(np.float64) + 1) / max(float(dense[0][0]) + 1, 1e-9)
        scores += share * near[-1]
        scores[np.searchsorted(rows, dense[1])] += share * (near - near[-1])
    if len(lexical[1]):
        scores[np.searchsorted(rows, lexical[1])] += (1 - share) * lexical[0] / float(lexical[0][0])
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]
