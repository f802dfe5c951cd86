"""Indexes made in this process, of the parts that a build has, without its ranks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.job.provenance import FILE as PROVENANCE
from engine.rag.assembling import Parts, assemble, embedder_used, rejected_blind, settings_of, stand_in
from engine.rag.chunks.duplicates import Duplicates
from engine.rag.chunks.tokens import WordCounter
from engine.rag.lineage import index_facts
from engine.rag.manifest import Counts, Names
from engine.rag.preparing import Preparation
from engine.rag.reading.digests import file_digests
from engine.rag.searching.search import Mode, Searcher
from engine.rag.segments import VECTORS, Segment
from engine.spec.models import RagSpec

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

Documents = Mapping[str, str | tuple[str, Mapping[str, Any]]]  # text, or text and metadata, by id


def write_rows(file: Path, documents: Documents) -> Path:
    """Write documents as JSONL."""
    rows = [
        {"id": identity, "text": value} if isinstance(value, str) else {"id": identity, "text": value[0], **value[1]}
        for identity, value in documents.items()
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def spec_of(path: Path, embedder: Path | None = None, **more: Any) -> dict[str, Any]:
    """Return the spec of an index of small chunks."""
    return {
        "kind": "rag",
        "name": "index",
        "corpus": {"path": str(path), **more.pop("corpus", {})},
        "chunks": {"tokens": 24, "overlap": 4},
        "embedder": None if embedder is None else {"path": str(embedder), "precision": "fp32", "batch_size": 4},
        "placement": {"threads": 1},
        **more,
    }


def make_index(folder: Path, document: dict[str, Any], encoder: Encoder | None = None) -> Path:
    """Make the index of a spec."""
    spec = RagSpec.model_validate(document)
    folder.mkdir(parents=True)
    preparation = Preparation(spec.corpus, spec.chunks, WordCounter() if encoder is None else encoder.counter())
    target = folder / Names.segment(0)
    prepared = preparation.write(preparation.documents(), target, Duplicates(spec.corpus.near_duplicates))
    segment, removed, rejected = Segment(target), np.empty(0, dtype=np.int64), list(prepared.rejected)
    if encoder is not None:
        vectors = encoder.encode_passages(list(segment.texts()))
        removed = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).astype(np.int64)
        vectors[removed] = stand_in(encoder.dimension)
        np.save(target / VECTORS, vectors)
        rejected += rejected_blind(segment, removed)
    manifest = assemble(
        folder,
        Parts(
            settings=settings_of(spec),
            corpus=[{"path": one.path, "sha256": one.sha256, "bytes": one.bytes} for one in file_digests(spec.corpus)],
            removed=removed,
            rejected=rejected,
            counts=Counts(0, 0, 0, 0, prepared.duplicates, 0),
            embedder=embedder_used(encoder) if encoder is not None else None,
            index=spec.index,
            seed=spec.seed,
            threads=1,
        ),
    )
    told = {"spec": spec.model_dump(mode="json"), "index": index_facts(1, manifest.files)}
    (folder / PROVENANCE).write_text(json.dumps(told))
    return folder


def found(searcher: Searcher, queries: Iterable[str], mode: Mode = "auto") -> list[dict[tuple[str, str], float]]:
    """Return, by query, the score of everything that is found, by document and text."""
    return [
        {(passage.chunk.document, passage.chunk.text): passage.score for passage in passages}
        for passages in searcher.search(list(queries), 10_000, mode=mode)
    ]
