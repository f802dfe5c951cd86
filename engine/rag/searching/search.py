"""Search: queries to passages, by meaning, by words, or by both.

By meaning (dense): the vectors nearest to the query's. By words (lexical): BM25. By both (hybrid): the best of each
way, fused by their ranks or their scores. What a query finds does not depend on the queries beside it, and equal scores
are ordered by row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, Refused
from engine.rag.records import Chunk, Passage
from engine.rag.searching.filters import Described, Filter, check_keys, matching_rows, parse_filter
from engine.rag.searching.fusion import combined_scores, reciprocal_ranks
from engine.rag.searching.lexical import LexicalIndex
from engine.rag.searching.reranking import Reranker

Mode = Literal["auto", "dense", "lexical", "hybrid"]
Fusion = Literal["ranks", "scores"]
# Candidates of each way of a hybrid search, and of a reranker, when `k` asks for fewer.
_CANDIDATES = 100
_CANDIDATES_PER_RESULT = 4
# Filters whose rows are kept: a person, or an evaluation, asks many queries under few of them.
_KEPT_FILTERS = 8

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


class VectorSearch(Protocol):
    """The searchable vectors of an index."""

    def search(
        self, queries: NDArray[np.float32], k: int, *, allowed: Mask | None, removed: Rows
    ) -> tuple[NDArray[np.float32], Rows]:
        """Return scores and rows of the `k` best of each query, both [n, k]; row -1 where there are fewer."""


class QueryEncoder(Protocol):
    """An embedder, of which only queries are asked."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def encode_queries(self, texts: list[str], /) -> NDArray[np.float32]: ...


@dataclass(frozen=True, slots=True)
class EmbedderIdentity:
    """Which embedder made the vectors of an index."""

    name: str
    fingerprint: str


class Searched(Protocol):
    """An open index."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def document_of(self) -> NDArray[np.int32]:
        """The number of each row's document, [rows]."""

    @property
    def documents(self) -> Sequence[Described]:
        """All documents."""

    @property
    def removed(self) -> Rows:
        """Rows that no longer count, ascending."""

    @property
    def vectors(self) -> VectorSearch | None:
        """Its vectors, if it has any."""

    @property
    def lexical(self) -> LexicalIndex | None:
        """Its BM25 index, if it has one."""

    @property
    def embedder(self) -> EmbedderIdentity | None:
        """What made its vectors."""

    def chunk(self, row: int) -> Chunk:
        """Return the chunk of a row."""

    def load_encoder(self) -> QueryEncoder:
        """Return an embedder for queries. It is called at the first dense or hybrid search, once."""


@dataclass(frozen=True, slots=True)
class _Hits:
    """What one query found, the best first."""

    rows: list[int]
    scores: list[float]
    ranks: list[Mapping[str, int]]


class Searcher:
    """Searches one open index."""

    def __init__(self, searched: Searched) -> None:
        self._searched = searched
        self._matching: dict[tuple[Filter, ...], Mask] = {}

    def search(
        self,
        queries: Sequence[str],
        k: int = 10,
        *,
        mode: Mode = "auto",
        where: Sequence[str] = (),
        rerank: Reranker | None = None,
        depth: int | None = None,
        fusion: Fusion = "ranks",
        together: bool = False,
    ) -> list[list[Passage]]:
        """Return the best passages of each query, at most `k`, fewer where fewer are found.

        Args:
            queries: texts; none blank.
            k: at least 1; may be more than there are chunks.
            mode: auto is hybrid where the index has both ways, else the one that it has.
            where: conditions that documents must meet, all of them (see `engine.rag.searching.filters`).
            rerank: orders the first `depth` anew, by its own scores.
            depth: passages that a reranker reads; None: the larger of 4 k and 100. A hybrid search takes that many
                candidates of each way, or `depth` if it is more.
            fusion: of a hybrid search: reciprocal ranks, or scores brought to one scale.
            together: embed and search all queries in one go. It is faster, but the last bits of a score then depend on
                the queries beside it, and with them the order of passages that are all but equal.

        Raises:
            InvalidInput: a blank query, `k` or `depth` below 1, a filter that cannot be read or names an unknown key.
            Refused: a way of search that the index lacks, or an embedder that did not make its vectors.
        """
        for number, query in enumerate(queries, start=1):
            _check_query(query, number)
        if k < 1 or (depth is not None and depth < 1):
            raise InvalidInput(f"k is {k} and depth is {depth}: neither may be below 1.")
        way = self._way(mode)
        candidates = max(_CANDIDATES_PER_RESULT * k, _CANDIDATES)
        depth = max(k, depth or candidates)
        wanted = max(depth, candidates) if way == "hybrid" else depth if rerank is not None else k
        allowed = self._allowed(tuple(map(parse_filter, where)))
        if allowed is not None and not allowed.any():
            return [[] for _ in queries]
        dense = self._dense(queries, wanted, allowed, together) if way != "lexical" else None
        lexical = self._lexical(queries, wanted, allowed) if way != "dense" else None
        found = [
            _fused(dense[number], lexical[number], fusion) if dense and lexical else (dense or lexical or [])[number]
            for number in range(len(queries))
        ]
        if rerank is not None:
            found = [
                self._reranked(query, hits, depth, way, rerank) for query, hits in zip(queries, found, strict=True)
            ]
        return [self._passages(hits, k) for hits in found]

    def _way(self, mode: Mode) -> str:
        """Return which way to search, of those that the index has."""
        if mode not in get_args(Mode):
            raise InvalidInput(f"there is no mode {mode!r}.", hint=f"Modes are {', '.join(get_args(Mode))}.")
        held = {"dense": self._searched.vectors is not None, "lexical": self._searched.lexical is not None}
        has = [way for way, there in held.items() if there]
        if not has:
            raise Refused("this index can be searched in no way.", hint="Build it again.", where=self._searched.name)
        if mode == "auto":
            return "hybrid" if len(has) > 1 else has[0]
        needed = list(held) if mode == "hybrid" else [mode]
        if missing := [way for way in needed if way not in has]:
            stands = {"dense": "vectors", "lexical": "words (BM25)"}
            raise Refused(
                f"mode {mode} needs {stands[missing[0]]}, and this index has only {stands[has[0]]}.",
                hint=f"Search it with mode {has[0]}, or build it with both.",
                where=self._searched.name,
            )
        return mode

    def _allowed(self, filters: tuple[Filter, ...]) -> Mask | None:
        """Return the rows that may be found, or None: all that are not removed."""
        if not filters:
            return None
        if filters not in self._matching:
            check_keys(filters, self._metadata_keys)
            if len(self._matching) >= _KEPT_FILTERS:
                self._matching.pop(next(iter(self._matching)))
            allowed = matching_rows(filters, self._searched.documents, self._searched.document_of)
            allowed[self._searched.removed] = False
            self._matching[filters] = allowed
        return self._matching[filters]

    @cached_property
    def _metadata_keys(self) -> frozenset[str]:
        return frozenset(key for document in self._searched.documents for key in document.metadata)

    @cached_property
    def _counting(self) -> Mask | None:
        """The rows that are not removed; None: all."""
        if not len(self._searched.removed):
            return None
        counting = np.ones(len(self._searched.document_of), np.bool_)
        counting[self._searched.removed] = False
        return counting

    @cached_property
    def _encoder(self) -> QueryEncoder:
        encoder, made = self._searched.load_encoder(), self._searched.embedder
        if made is not None and encoder.fingerprint != made.fingerprint:
            raise Refused(
                f"the vectors of this index were made by the embedder {made.name} ({made.fingerprint[:12]}), "
                f"and queries would be embedded by {encoder.name} ({encoder.fingerprint[:12]}).",
                hint="Name the folder of the first, or build the index again with the second.",
                where=self._searched.name,
            )
        return encoder

    def _dense(self, queries: Sequence[str], k: int, allowed: Mask | None, together: bool) -> list[_Hits]:
        vectors, removed = self._searched.vectors, self._searched.removed
        assert vectors is not None  # _way has looked
        k = min(k, len(self._searched.document_of))
        if k == 0 or not queries:
            return [_Hits([], [], []) for _ in queries]
        # One by one: in a batch the last bits of a vector, and of a product, depend on what else is in it.
        batches = [list(queries)] if together else [[query] for query in queries]
        hits: list[_Hits] = []
        for batch in batches:
            found = vectors.search(self._encoder.encode_queries(batch), k, allowed=allowed, removed=removed)
            hits += [_ranked("dense", *_found(scores, rows)) for scores, rows in zip(*found, strict=True)]
        return hits

    def _lexical(self, queries: Sequence[str], k: int, allowed: Mask | None) -> list[_Hits]:
        lexical = self._searched.lexical
        assert lexical is not None  # _way has looked
        if lexical.rows != len(self._searched.document_of):
            raise InvalidInput(
                f"its BM25 has {lexical.rows} chunks, and the index {len(self._searched.document_of)}.",
                hint="Build the index again.",
                where=self._searched.name,
            )
        found = lexical.search(queries, k, self._counting if allowed is None else allowed)
        return [_ranked("lexical", scores, rows) for scores, rows in found]

    def _reranked(self, query: str, hits: _Hits, depth: int, way: str, reranker: Reranker) -> _Hits:
        rows = hits.rows[:depth]
        scores = reranker.scores(query, [self._searched.chunk(row).text for row in rows])
        order = np.lexsort((np.array(rows, np.int64), -scores)).tolist()
        # The place in a fused ranking is in neither of the two that it was made of.
        ranks = [{**held, way: rank} for rank, held in enumerate(hits.ranks[:depth], start=1)]
        return _Hits([rows[at] for at in order], [float(scores[at]) for at in order], [ranks[at] for at in order])

    def _passages(self, hits: _Hits, k: int) -> list[Passage]:
        passages = []
        for rank, (row, score, ranks) in enumerate(zip(hits.rows, hits.scores, hits.ranks, strict=True), start=1):
            if rank > k:
                break
            document = self._searched.documents[int(self._searched.document_of[row])]
            chunk = self._searched.chunk(row)
            passages.append(Passage(rank, score, chunk, document.title, document.source, document.metadata, ranks))
        return passages


def _check_query(query: str, number: int) -> None:
    if not query.strip():
        raise InvalidInput(f"query {number} is empty.", hint="Ask for something.")
    try:
        query.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"query {number} is no Unicode text: {query[error.start]!r} stands alone.") from error


def _found(scores: NDArray[np.float32], rows: Rows) -> tuple[NDArray[np.float32], Rows]:
    """Return what is there, the best first, ties by row."""
    there = rows >= 0
    scores, rows = scores[there], rows[there]
    order = np.lexsort((rows, -scores))
    return scores[order], rows[order]


def _ranked(way: str, scores: NDArray[Any], rows: Rows) -> _Hits:
    return _Hits(rows.tolist(), scores.tolist(), [{way: rank} for rank in range(1, len(rows) + 1)])


def _fused(dense: _Hits, lexical: _Hits, fusion: Fusion) -> _Hits:
    (near, near_rows), (said, said_rows) = (
        (np.array(hits.scores, np.float32), np.array(hits.rows, np.int64)) for hits in (dense, lexical)
    )
    if fusion == "ranks":
        scores, rows = reciprocal_ranks([near_rows, said_rows])
    else:
        scores, rows = combined_scores((near, near_rows), (said, said_rows))
    ranks: dict[int, dict[str, int]] = {}
    for hits in (dense, lexical):
        for row, held in zip(hits.rows, hits.ranks, strict=True):
            ranks.setdefault(row, {}).update(held)
    return _Hits(rows.tolist(), scores.tolist(), [ranks[row] for row in rows.tolist()])
