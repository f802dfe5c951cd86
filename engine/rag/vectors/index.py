"""The vector index: built by faiss, searched memory-mapped, its finds scored exactly.

faiss finds candidates by codes that are shorter than the vectors; the vectors themselves, memory-mapped, give each
candidate its score. So a score is the inner product whatever the index, the order has no ties left to chance, and a
code as short as a few bits a dimension costs recall only where it misses a candidate altogether.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, NotFound
from engine.job.durable import sync
from engine.plan.rag import FLAT_BELOW, Choice
from engine.rag.searching.selection import Selection, select
from engine.rag.vectors import training
from engine.rag.vectors.faiss_library import library
from engine.rag.vectors.index_kinds import Kind, kind_of, parameters
from engine.rag.vectors.nearest import best, nearest, padded, slack, write
from engine.rag.vectors.vector_rows import Floats, Rows, VectorRows

_BEYOND = 8  # candidates beyond those wanted: a tie at the end of the list is seen whole
_QUERIES = 1_024  # queries that faiss is asked at once
_BUILD_AGAIN = "Build the index again, or copy it again."


@dataclass(slots=True)
class VectorIndex:
    """An index and the vectors that it is of."""

    index: Any  # of faiss
    vectors: VectorRows
    effort: int | None = None  # lists or neighbours that a search looks at; None: what faiss takes
    exact_below: int = FLAT_BELOW  # a filter that leaves fewer rows is searched without the index

    @property
    def rows(self) -> int:
        """Rows in the index."""
        return int(self.index.ntotal)

    def add(
        self,
        vectors: VectorRows,
        *,
        start: int | None = None,
        stop: int | None = None,
        threads: int | None = None,
        told: Callable[[int], None] | None = None,
    ) -> None:
        """Add the rows of `vectors` that the index has not.

        Args:
            vectors: those of the index, and new ones behind them.
            start: the first row; None: the first that the index has not. A part to be merged begins elsewhere.
            stop: the row after the last; None: all.
            threads: of faiss; None: as many as it takes.
            told: called with the number of rows added so far, after each piece.

        Raises InvalidInput if a vector is not finite or not of unit length; what came before it has been added.
        """
        self.vectors = vectors
        first = self.rows if start is None else start
        training.fill(self.index, vectors, start=first, stop=stop, threads=threads, told=told)

    def merge(self, part: VectorIndex) -> None:
        """Move the rows of an index that was trained with this one behind its own. Raises InvalidInput."""
        training.merge(self.index, part.index)

    def search(
        self,
        queries: NDArray[Any],
        k: int,
        *,
        allowed: NDArray[np.bool_] | None = None,
        removed: NDArray[np.int64] | None = None,
        effort: int | None = None,
    ) -> tuple[Floats, Rows]:
        """Search.

        Args:
            queries: [q, dimension], finite.
            k: how many are wanted for each.
            allowed: [rows], True where a row may be found; None: everywhere.
            removed: rows that no longer count; None: none.
            effort: lists or neighbours to look at; None: as the index was made for.

        Returns:
            Scores float32 [q, k]: inner products, descending, padded with -inf; rows int64 [q, k], of equal scores the
            lower first, padded with -1.

        Raises:
            InvalidInput: the queries do not fit, or the index is damaged.
        """
        if k < 1:
            raise InvalidInput(f"{k} results are wanted, which is none.", hint="Ask for 1 or more.")
        queries = _checked(queries, self.vectors.dimension)
        selection = select(self.rows, allowed, removed)
        if selection is not None and selection.count < self.exact_below:
            return nearest(self.vectors, queries, k, selection.rows)
        found = padded(len(queries), k)
        wanted = min(k, self.rows if selection is None else selection.count)
        if wanted:
            for first in range(0, len(queries), _QUERIES):
                places = np.arange(first, min(first + _QUERIES, len(queries)))
                self._approach(queries, places, wanted, selection, effort=effort, found=found)
        return found

    def _approach(
        self,
        queries: Floats,
        places: Rows,
        wanted: int,
        selection: Selection | None,
        *,
        effort: int | None,
        found: tuple[Floats, Rows],
    ) -> None:
        """Search for some of the queries, ever harder, and in the end exactly."""
        kind = kind_of(self.index)
        share = 1.0 if selection is None else selection.count / self.rows
        candidates = wanted * kind.widening + _BEYOND
        for harder in (1, 8):
            # An index that cannot leave rows out must find more, so that enough are left.
            asked = candidates * harder if kind.filters else round(candidates * harder / share)
            asked = min(asked, self.rows)
            scores, rows = self._asked(
                queries[places], asked, kind, self._effort(kind, effort, harder / share), selection
            )
            pending = []
            for place, row_scores, row_rows in zip(places, scores, rows, strict=True):
                good = _counted(row_scores, row_rows, selection)
                if _complete(row_scores, good, wanted, slack(queries[place]), everything=asked == self.rows):
                    write(found, place, *best(self.vectors, queries[place], row_rows[good], wanted))
                else:
                    pending.append(place)
            places = np.array(pending, np.int64)
            if not pending:
                return
        exact = nearest(self.vectors, queries[places], wanted, None if selection is None else selection.rows)
        found[0][places, :wanted], found[1][places, :wanted] = exact

    def _effort(self, kind: Kind, effort: int | None, factor: float) -> int:
        """Return how hard to look where a filter leaves one row in so many."""
        usual = effort or self.effort or 64
        return max(1, min(round(usual * factor), kind.most_effort)) if kind.most_effort else 0

    def _asked(
        self, queries: Floats, candidates: int, kind: Kind, effort: int, selection: Selection | None
    ) -> tuple[Floats, Rows]:
        """Ask faiss. Returns scores [q, candidates] and rows, -1 where it found no more."""
        chosen = parameters(self.index, effort, selection if kind.filters else None)
        scores, rows = self.index.search(queries, candidates, params=chosen)
        if (rows >= self.rows).any() or (rows < -1).any():
            raise InvalidInput("The vector index is damaged: it finds rows that it does not have.", hint=_BUILD_AGAIN)
        return scores, rows


def build_vectors(
    vectors: VectorRows,
    choice: Choice,
    *,
    seed: int = 0,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> VectorIndex:
    """Return an index over all vectors, of unit length. Raises InvalidInput, see training.trained and training.fill."""
    index = train_vectors(vectors, choice, seed=seed, threads=threads)
    index.add(vectors, threads=threads, told=told)
    return index


def train_vectors(vectors: VectorRows, choice: Choice, *, seed: int = 0, threads: int | None = None) -> VectorIndex:
    """Return an index that is trained on the vectors, and has none yet."""
    return VectorIndex(training.trained(vectors, choice, seed=seed, threads=threads), vectors, choice.effort)


def save(index: VectorIndex, file: Path) -> None:
    """Write an index so that a power cut leaves the old file or the new one."""
    new = file.with_name(f".new-{file.name}")
    library().write_index(index.index, str(new))
    sync(new)
    new.replace(file)
    sync(file.parent)


def load(
    file: Path,
    vectors: VectorRows,
    *,
    sha256: str | None = None,
    bytes: int | None = None,
    effort: int | None = None,
    writable: bool = False,
    rows: int | None = None,
) -> VectorIndex:
    """Open an index that was saved.

    Args:
        file: that `save` wrote.
        vectors: that it is of.
        sha256: what the file must have; None: it is not read for that.
        bytes: that it must have.
        effort: lists or neighbours that a search looks at.
        writable: read into memory, so that rows can be added; else memory-mapped where faiss can.
        rows: that it must have; None: those of `vectors`. An index that was only trained has 0.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is damaged, cut short, or of other vectors.
    """
    faiss = library()
    _check_file(file, sha256, bytes)
    try:
        index = faiss.read_index(str(file), 0 if writable else faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError):
        raise _damaged(file, "is damaged, or is no vector index") from None
    rows = vectors.rows if rows is None else rows
    if (index.d, index.ntotal) != (vectors.dimension, rows):
        holds = f"holds {index.ntotal:,} vectors of {index.d} dimensions"
        raise _damaged(file, f"{holds}, and should hold {rows:,} of {vectors.dimension}")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT or not index.is_trained:
        raise _damaged(file, "is no index by inner product")
    return VectorIndex(index, vectors, effort)


def recall_against_exact(
    index: VectorIndex, *, removed: Rows | None = None, sample: int = 200, k: int = 10, seed: int = 0
) -> float:
    """Return the share of the k nearest of some of its own vectors that an index finds, without the vector itself.

    A find counts if its score is at least that of the k-th nearest, so that copies do not count as misses. NaN: fewer
    than two vectors count.
    """
    selection = select(index.rows, None, removed)
    counted = np.arange(index.rows) if selection is None else selection.rows
    k = min(k, len(counted) - 1)
    if k < 1:
        return float("nan")
    chosen = counted[training.training_rows(len(counted), sample, seed)]
    queries = index.vectors.take(chosen)
    true = nearest(index.vectors, queries, k + 1, counted)
    found = index.search(queries, k + 1, removed=removed)
    hits = 0
    for place, itself in enumerate(chosen):
        least = true[0][place][true[1][place] != itself][:k].min()
        hits += int((found[0][place][found[1][place] != itself][:k] >= least).sum())
    return hits / (k * len(chosen))


def _checked(queries: NDArray[Any], dimension: int) -> Floats:
    if queries.ndim != 2 or queries.shape[1] != dimension:
        raise InvalidInput(
            f"Queries are {list(queries.shape)}, and the vectors of the index have {dimension} dimensions.",
            hint="Embed them with the model that the index was built with.",
        )
    checked = np.ascontiguousarray(queries, np.float32)
    if not np.isfinite(checked).all():
        place = int(np.argmin(np.isfinite(checked).all(axis=1)))
        raise InvalidInput(f"The vector of query {place} holds NaN or infinity.", hint="Check the embedder.")
    return checked


def _counted(scores: Floats, rows: Rows, selection: Selection | None) -> NDArray[np.bool_]:
    good: NDArray[np.bool_] = rows >= 0
    if selection is not None:
        good[good] = selection.mask[rows[good]]
    return good


def _complete(scores: Floats, good: NDArray[np.bool_], wanted: int, slack: float, *, everything: bool) -> bool:
    """Say whether enough was found, and all that ties with the last that is wanted."""
    count = int(good.sum())
    if count < wanted:
        return False
    if everything or not (scores.size and np.isfinite(scores[-1])):
        return True
    return bool(scores[good][wanted - 1] - scores[-1] > 2 * slack)


def _check_file(file: Path, sha256: str | None, size: int | None) -> None:
    """Look at a file before faiss does, which trusts what it reads."""
    if not file.is_file():
        raise NotFound("There is no vector index.", where=str(file), hint=_BUILD_AGAIN)
    there = file.stat().st_size
    if there == 0:
        raise _damaged(file, "is empty")
    if size is not None and there != size:
        raise _damaged(file, f"has {there:,} bytes, not the {size:,} that were written")
    if sha256 is not None:
        with file.open("rb") as opened:
            if hashlib.file_digest(opened, "sha256").hexdigest() != sha256:
                raise _damaged(file, "is not the file that was written: its SHA-256 differs")


def _damaged(file: Path, what: str) -> InvalidInput:
    return InvalidInput(f"The vector index {what}.", where=str(file), hint=_BUILD_AGAIN)
