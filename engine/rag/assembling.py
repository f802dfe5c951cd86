"""From segments to an index that can be searched: vectors trained and added, words indexed, the manifest at last."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.plan.rag import choose_index
from engine.rag.chunks.rejects import write_rejects
from engine.rag.manifest import Counts, EmbedderUsed, Manifest, Names, VectorsUsed
from engine.rag.records import Rejected
from engine.rag.searching.lexical import build_lexical
from engine.rag.segments import Segment
from engine.spec.models import RagSpec
from engine.spec.rag import IndexSettings

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder
    from engine.rag.vectors.index import VectorIndex
    from engine.rag.vectors.vector_rows import VectorRows

RECALL_QUERIES = 200


@dataclass(frozen=True, slots=True)
class Parts:
    """What an index is assembled from."""

    settings: Mapping[str, Any]  # see `settings_of`
    corpus: Sequence[Mapping[str, Any]]
    removed: NDArray[np.int64]  # rows that do not count, ascending
    rejected: Sequence[Rejected]  # of the build and all updates
    counts: Counts  # of which `assemble` itself counts documents, chunks and what was removed and rejected
    embedder: EmbedderUsed | None
    index: IndexSettings
    seed: int
    segments: Sequence[int] = (0,)
    generation: int = 1
    known: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # files that are there (see Manifest.write)
    threads: int | None = None  # that train and add vectors; None: faiss decides


@dataclass(frozen=True, slots=True)
class Earlier:
    """An index of the first vectors, which takes in the others."""

    index: VectorIndex  # in memory
    used: VectorsUsed


def stand_in(dimension: int) -> NDArray[np.float32]:
    """Return what stands for the vector of a chunk that has no direction, and is never found: float32 [dimension]."""
    vector = np.zeros(dimension, dtype=np.float32)
    vector[0] = 1.0
    return vector


def settings_of(spec: RagSpec) -> dict[str, Any]:
    """Return the keys of a spec that an update needs again; no paths."""
    corpus = spec.corpus.model_dump(mode="json", exclude={"path"})
    return {
        "corpus": corpus,
        "chunks": spec.chunks.model_dump(mode="json"),
        "index": spec.index.model_dump(mode="json"),
        "seed": spec.seed,
    }


def embedder_used(encoder: Encoder) -> EmbedderUsed:
    """Return what a manifest tells of an embedder."""
    return EmbedderUsed(
        encoder.name,
        encoder.fingerprint,
        encoder.dimension,
        encoder.max_tokens,
        encoder.precision,
        encoder.query_prompt,
        encoder.passage_prompt,
    )


def rejected_blind(segment: Segment, rows: NDArray[np.int64]) -> list[Rejected]:
    """Return what is told of chunks that the embedder gives no direction."""
    return [
        Rejected(
            f"{segment.document(int(segment.document_of[row])).source}, characters {segment.chunks[int(row)]['start']}-"
            f"{segment.chunks[int(row)]['end']}",
            "has no direction: the embedder gives NaN or zeros for it",
        )
        for row in rows
    ]


def assemble(folder: Path, parts: Parts, *, earlier: Earlier | None = None) -> Manifest:
    """Make an index of segments in a folder, and commit it.

    earlier: None: the vectors' index is made of all of them.

    Raises:
        InvalidInput: if the index that is asked for cannot be made of so many vectors.
        OSError: if the disk is full.
    """
    names = Names(parts.generation)
    segments = [Segment(folder / names.segment(number)) for number in parts.segments]
    np.save(folder / names.removed, parts.removed)
    write_rejects(parts.rejected, folder / names.rejects)
    if parts.index.lexical:
        build_lexical(_counting_texts(segments, parts.removed), folder / names.lexical)
    vectors = None
    if parts.embedder is not None:
        vectors = _vectors(folder / names.vectors, segments, parts, parts.embedder.dimension, earlier)
    manifest = Manifest(
        settings=parts.settings,
        corpus=parts.corpus,
        segments=parts.segments,
        generation=parts.generation,
        counts=replace(
            parts.counts,
            documents=_documents(segments, parts.removed),
            chunks=sum(map(len, segments)),
            removed=len(parts.removed),
            rejected=len(parts.rejected),
        ),
        embedder=parts.embedder,
        vectors=vectors,
        lexical=parts.index.lexical,
    )
    return manifest.write(folder, parts.known)


def _counting_texts(segments: Sequence[Segment], removed: NDArray[np.int64]) -> Iterator[str | None]:
    """Yield the text of each row, None where it does not count."""
    dead = frozenset(removed.tolist())
    rows = (text for segment in segments for text in segment.texts())
    return (None if row in dead else text for row, text in enumerate(rows))


def _documents(segments: Sequence[Segment], removed: NDArray[np.int64]) -> int:
    """Return how many documents have rows which count."""
    count = start = 0
    for segment in segments:
        counting = np.ones(len(segment), dtype=bool)
        counting[removed[(removed >= start) & (removed < start + len(segment))] - start] = False
        count += len(np.unique(segment.document_of[counting]))
        start += len(segment)
    return count


def _vectors(
    file: Path, segments: Sequence[Segment], parts: Parts, dimension: int, earlier: Earlier | None
) -> VectorsUsed:
    from engine.rag.vectors.index import build_vectors, recall_against_exact, save

    vectors = rows_of(segments, dimension)
    if earlier is not None:
        index, used = earlier.index, earlier.used
        index.add(vectors, threads=parts.threads)
    else:
        choice = choose_index(
            vectors.rows, dimension, factory=parts.index.factory, training_vectors=parts.index.training_vectors
        )
        index = build_vectors(vectors, choice, seed=parts.seed, threads=parts.threads)
        used = VectorsUsed(choice.factory, choice.reason, choice.effort, vectors.rows, None)
    save(index, file)
    recall = recall_against_exact(index, removed=parts.removed, sample=RECALL_QUERIES, seed=parts.seed)
    return replace(used, recall_at_10=recall if math.isfinite(recall) else None)


def rows_of(segments: Sequence[Segment], dimension: int) -> VectorRows:
    """Return the vectors of some segments, one after the other.

    Raises:
        InvalidInput: if one has none, or of another dimension.
    """
    from engine.rag.vectors.vector_rows import VectorRows

    blocks = []
    for segment in segments:
        found = segment.vectors
        if found is None or found.shape[1] != dimension:
            raise InvalidInput("is damaged: its vectors are missing.", where=str(segment.folder))
        blocks.append(found)
    return VectorRows(blocks, dimension)
