"""How well rankings of documents meet what was judged relevant: the measures of trec_eval, of all questions at once.

Ranks are explicit: the first document of a ranking has rank 1, whatever its score. (trec_eval itself sorts by score,
and equal scores by descending document id.) A document counts at the first rank where it stands, and not again, so that
the chunks of one document count once; search deep enough for k different ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput

Name = Literal["recall", "precision", "success", "mrr", "ndcg", "map"]
Floats = NDArray[np.float64]

_NEEDS_DEPTH: frozenset[Name] = frozenset({"recall", "precision", "success"})
_WRITTEN = re.compile(r"([a-z]+)(?:@([1-9]\d{0,5}))?")


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure of rankings, read to depth `k`; None: as deep as they go."""

    name: Name
    k: int | None = None

    def __post_init__(self) -> None:
        if self.k is None and self.name in _NEEDS_DEPTH:
            raise ValueError(f"{self.name} without a depth")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the measure that is written `recall@5`, `precision@5`, `success@5`, `mrr@10`, `ndcg@10`, or `map`.

        Raises:
            InvalidInput: if it is none of these, or has no depth and needs one.
        """
        found = _WRITTEN.fullmatch(text.strip().lower())
        for name in get_args(Name):
            if found and found[1] == name and (found[2] or name not in _NEEDS_DEPTH):
                return cls(name, int(found[2]) if found[2] else None)
        raise InvalidInput(
            f"{text!r} is no measure of rankings.",
            hint="They are recall@K, precision@K, success@K, mrr, mrr@K, ndcg, ndcg@K, map and map@K.",
        )

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


DEFAULT_MEASURES = tuple(map(Measure.parse, ("recall@1", "recall@5", "recall@20", "mrr", "ndcg@10", "map")))


def distinct(documents: Iterable[str]) -> list[str]:
    """Return each document once, in the order of their first ranks: from the documents of chunks to a ranking."""
    return list(dict.fromkeys(documents))


def ranking_scores(
    rankings: Sequence[Sequence[str]],
    judgements: Sequence[Mapping[str, int]],
    measures: Sequence[Measure] = DEFAULT_MEASURES,
    *,
    relevant_from: int = 1,
) -> dict[str, Floats]:
    """Return each measure of each question, [questions], by the name of the measure.

    With R the relevant documents that were judged, and n_i how many of the first i are relevant:

    | measure | of one question |
    |---|---|
    | recall@k | n_k / R |
    | precision@k | n_k / k, however few were found |
    | success@k | 1 if n_k > 0 |
    | mrr | 1 / rank of the first relevant document |
    | map | Σ n_i / i over the ranks i of relevant documents, / R |
    | ndcg | DCG / DCG of the best ranking, DCG = Σ grade / log2(rank + 1) (Järvelin and Kekäläinen 2002, linear gain) |

    `mrr@k`, `map@k` and `ndcg@k` leave out what stands below rank k; R, and the grades of the best ranking, are of all
    documents that were judged. Where no document is relevant, all are 0, as trec_eval has it: no search can do better,
    so ask only about questions that have one.

    Arguments:
        rankings: [questions][documents], ids of documents, best first; empty if nothing was found.
        judgements: [questions], the grade of each judged document; those that were not judged have grade 0.
        relevant_from: the lowest grade that counts as relevant, 1 or more; `ndcg` takes grades as they are.
    """
    graded = _Graded.of(rankings, judgements, relevant_from)
    return {str(measure): graded.score(measure) for measure in measures}


@dataclass(frozen=True, slots=True, eq=False)
class _Graded:
    """Rankings as matrices."""

    relevant: NDArray[np.bool_]  # [questions, depth]: whether the document at each rank is relevant
    gains: Floats  # [questions, depth]: its grade; 0 beyond the end, and for grades below 0
    best: Floats  # [questions, most judged]: the grades of the best ranking
    total: Floats  # [questions]: how many documents are relevant

    @classmethod
    def of(cls, rankings: Sequence[Sequence[str]], judgements: Sequence[Mapping[str, int]], least: int) -> Self:
        grades = [
            [judged.get(document, 0) for document in distinct(ranking)]
            for ranking, judged in zip(rankings, judgements, strict=True)
        ]
        found = _matrix(grades)
        best = _matrix([sorted(judged.values(), reverse=True) for judged in judgements])
        return cls(found >= least, found.clip(min=0), best.clip(min=0), (best >= least).sum(axis=1, dtype=np.float64))

    def score(self, measure: Measure) -> Floats:
        """Return a measure of each question, [questions]."""
        relevant = self.relevant[:, : measure.k]
        ranks = np.arange(1, relevant.shape[1] + 1)
        if measure.name == "ndcg":
            return _over(_discounted(self.gains[:, : measure.k]), _discounted(self.best[:, : measure.k]))
        if measure.name == "mrr":
            return (relevant / ranks).max(axis=1, initial=0.0)
        if measure.name == "map":
            return _over((relevant * relevant.cumsum(axis=1) / ranks).sum(axis=1), self.total)
        hits = relevant.sum(axis=1, dtype=np.float64)
        if measure.name == "recall":
            return _over(hits, self.total)
        if measure.name == "precision":
            return hits / (measure.k or 1)
        return np.minimum(hits, 1.0)


def _matrix(rows: Sequence[Sequence[int]]) -> Floats:
    """Return rows of different length as a matrix, [rows, longest], with 0 beyond their ends."""
    matrix = np.zeros((len(rows), max(map(len, rows), default=0)))
    for row, values in zip(matrix, rows, strict=True):
        row[: len(values)] = values
    return matrix


def _discounted(gains: Floats) -> Floats:
    return (gains / np.log2(np.arange(2, gains.shape[1] + 2))).sum(axis=1)


def _over(dividend: Floats, divisor: Floats) -> Floats:
    return np.divide(dividend, divisor, out=np.zeros_like(dividend), where=divisor > 0)
