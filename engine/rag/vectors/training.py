"""Making, training and filling an index, without holding all vectors in memory.

The same vectors, choice and seed give the same bytes, with any number of threads. An index that is trained once,
filled in parts and merged in order has the bytes of one that was filled in one go (Flat, SQ and IVF kinds).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.errors import InvalidInput
from engine.plan.factories import parse_factory
from engine.plan.rag import Choice, choose_index
from engine.rag.vectors.faiss_library import library
from engine.rag.vectors.vector_rows import Rows, VectorRows, check_unit

PIECE = 16_384  # vectors that are added at once

_PLACE = re.compile(r"Error in .* at \S+:\d+: (Error: )?", re.DOTALL)  # of an error, in faiss's source


def trained(vectors: VectorRows, choice: Choice, *, seed: int = 0, threads: int | None = None) -> Any:
    """Return an empty faiss index, trained on a sample of the vectors.

    Raises:
        InvalidInput: faiss builds no such index, there are too few vectors to train it, or one is not of unit length.
    """
    index = _made(choice.factory, vectors.dimension)
    if index.is_trained:
        return index
    factory = parse_factory(choice.factory, vectors.dimension)
    rows = training_rows(vectors.rows, max(choice.training_vectors, factory.needed), seed)
    sample = vectors.take(rows)
    check_unit(sample, rows)
    try:
        with thread_count(threads):
            index.train(sample)
    except RuntimeError as error:
        fits = choose_index(vectors.rows, vectors.dimension).factory
        raise InvalidInput(
            f"{choice.factory!r} cannot be trained on {len(rows):,} vectors: {_cause(error)}.",
            hint=f'Write "auto", or "{fits}", which fits.',
        ) from None
    return index


def fill(
    index: Any,
    vectors: VectorRows,
    *,
    start: int = 0,
    stop: int | None = None,
    threads: int | None = None,
    told: Callable[[int], None] | None = None,
) -> None:
    """Add rows `start` to `stop` to a trained index, in pieces.

    Args:
        index: what is filled.
        vectors: all vectors.
        start: first row.
        stop: the row after the last; None: all.
        threads: of faiss; None: as many as it takes.
        told: called with the number of rows added so far, after each piece.

    Raises InvalidInput if a vector is not finite or not of unit length; what came before it has been added.
    """
    with thread_count(threads):
        for first, piece in vectors.pieces(PIECE, start, stop):
            check_unit(piece, np.arange(first, first + len(piece)))
            index.add(piece)
            if told is not None:
                told(first + len(piece) - start)


def merge(into: Any, part: Any) -> None:
    """Move the vectors of an index that was trained with `into` behind its own. Raises InvalidInput if it cannot."""
    faiss = library()

    # Flat codes number their rows by themselves; lists are told.
    flat = isinstance(faiss.downcast_index(into), (faiss.IndexFlat, faiss.IndexScalarQuantizer))
    try:
        into.merge_from(part, 0 if flat else into.ntotal)
    except RuntimeError as error:
        raise InvalidInput(
            f"These indexes cannot be merged: {_cause(error)}.", hint="Fill one index with all vectors instead."
        ) from None


def training_rows(rows: int, wanted: int, seed: int) -> Rows:
    """Return rows to train on, ascending: one drawn from each of `wanted` equal stretches."""
    wanted = min(rows, wanted)
    edges = np.arange(wanted + 1, dtype=np.int64) * rows // max(wanted, 1)
    return np.random.default_rng(seed).integers(edges[:-1], np.maximum(edges[1:], edges[:-1] + 1), dtype=np.int64)


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Let faiss use so many threads for a while; None: as many as it takes."""
    faiss = library()

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads or before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _made(text: str, dimension: int) -> Any:
    faiss = library()

    parse_factory(text, dimension)
    try:
        index = faiss.index_factory(dimension, text, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise InvalidInput(
            f"faiss builds no index {text!r} for vectors of {dimension} dimensions: {_cause(error)}.",
            hint='Write "auto", or for example "IVF1024,SQ8".',
        ) from None
    _settle(faiss, index)
    return index


def _settle(faiss: Any, index: Any) -> None:
    """Set what the factory does not: no warnings about few training vectors, which the plan tells; and no annealing
    of codebooks for searches by Hamming distance, which nobody makes here, and which takes most of the training.
    """
    index = faiss.downcast_index(index)
    for inner in ("base_index", "index", "storage"):
        if isinstance(index, (faiss.IndexRefine, faiss.IndexPreTransform, faiss.IndexHNSW)) and hasattr(index, inner):
            _settle(faiss, getattr(index, inner))
    if hasattr(index, "do_polysemous_training"):
        index.do_polysemous_training = False
    for owner in (index, getattr(index, "pq", None)):
        if (clustering := getattr(owner, "cp", None)) is not None:
            clustering.min_points_per_centroid = 1


def _cause(error: RuntimeError) -> str:
    """Return what faiss says, without the place in its source."""
    return _PLACE.sub("", str(error)).strip().removesuffix(".")[:200] or "it gives no reason"
