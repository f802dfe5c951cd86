"""Reciprocal rank fusion, worked out by hand and by its properties."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rag.searching.fusion import combined_scores, reciprocal_ranks

RANKING = st.lists(st.integers(0, 9), unique=True, max_size=10)


def fuse(rankings: list[list[int]], weights: list[float] | None = None) -> tuple[list[float], list[int]]:
    scores, rows = reciprocal_ranks([np.array(ranking, np.int64) for ranking in rankings], weights)
    return scores.tolist(), rows.tolist()


def test_scores_are_sums_of_reciprocal_ranks() -> None:
    scores, rows = fuse([[7, 3, 5], [3, 7], [5]])
    assert rows == [3, 7, 5]  # 3 and 7 are equal: by row
    assert scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61 + 1 / 62, 1 / 63 + 1 / 61], abs=1e-15)


def test_weights_count_and_rows_that_hold_nothing_do_not() -> None:
    assert fuse([[1, 2], [2, 1]], [1.0, 2.0])[1] == [2, 1]
    scores, rows = fuse([[-1, 4, -1]])
    assert rows == [4] and scores == [1 / 62]
    assert fuse([]) == ([], []) and fuse([[], []]) == ([], [])


@given(st.lists(RANKING, min_size=1, max_size=5), st.data())
def test_fusion_is_exact_and_neither_order_of_rankings_nor_rounding_breaks_a_tie(
    rankings: list[list[int]], data: st.DataObject
) -> None:
    exact: dict[int, Fraction] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            exact[row] = exact.get(row, Fraction(0)) + Fraction(1, 60 + rank)
    scores, rows = fuse(rankings)
    assert scores == pytest.approx([float(exact[row]) for row in rows], rel=1e-15)
    assert set(rows) == set(exact)
    held = list(zip((-np.array(scores)).tolist(), rows, strict=True))
    assert held == sorted(held)
    assert fuse(data.draw(st.permutations(rankings))) == (scores, rows)


def test_combined_scores_are_the_formula_with_what_is_missing_at_its_bound() -> None:
    dense = np.array([0.8, 0.5, 0.5], np.float32), np.array([4, 9, 2])
    lexical = np.array([6.0, 3.0], np.float32), np.array([2, 7])
    scores, rows = combined_scores(dense, lexical, 0.5)
    golden = {2: 0.5 * 1.5 / 1.8 + 0.5, 4: 0.5, 7: 0.5 * 1.5 / 1.8 + 0.25, 9: 0.5 * 1.5 / 1.8}
    assert rows.tolist() == [2, 7, 4, 9]
    assert scores == pytest.approx([golden[row] for row in rows.tolist()], abs=1e-7)


@given(RANKING, RANKING)
def test_combined_scores_keep_every_row_and_order_equal_ones_by_row(dense: list[int], lexical: list[int]) -> None:
    none = np.zeros(0, np.float32), np.zeros(0, np.int64)
    ways = [(np.full(len(rows), 0.5, np.float32), np.array(rows, np.int64)) for rows in (dense, lexical)]
    _, rows = combined_scores(ways[0], ways[1])
    assert sorted(rows.tolist()) == sorted({*dense, *lexical})
    if lexical:  # all scores of a way are equal: what words found, then the rest
        assert rows.tolist() == sorted(lexical) + sorted(set(dense) - set(lexical))
    assert combined_scores(ways[0], none)[1].tolist() == sorted(dense)
    assert combined_scores(none, ways[1])[1].tolist() == sorted(lexical)
