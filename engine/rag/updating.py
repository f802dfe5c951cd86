"""Changes of an index in place: documents added, replaced and removed, without embedding again what is there.

An update writes new files beside those that the manifest names, then replaces the manifest, then removes what no
longer belongs. Who has the index open goes on with the old files; a cut-off update leaves the old index.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotFound, Refused
from engine.job.provenance import FILE as PROVENANCE
from engine.plan.factories import parse_factory
from engine.plan.rag import choose_index
from engine.rag.assembling import Earlier, Parts, assemble, embedder_used, rejected_blind, stand_in
from engine.rag.manifest import FILE, Manifest, Names, belonging, read_manifest
from engine.rag.opening import OpenIndex, open_index
from engine.rag.preparing import Preparation, Prepared, duplicates_of
from engine.rag.reading.digests import FileDigest, file_digests
from engine.rag.records import Document, Rejected
from engine.rag.reuse import require_same_embedder, rows_with
from engine.rag.segments import VECTORS, Kept, Segment, SegmentWriter
from engine.rag.tokens import TokenCounter, WordCounter
from engine.spec.rag import Chunking, Corpus, Embedder, IndexSettings

if TYPE_CHECKING:
    from engine.rag.embedder import Encoder

# From this share of rows that no longer count on, the index is written anew without them.
COMPACT_FROM = 0.25
# From this many times the rows that the lists were trained for on, they are trained anew.
RETRAIN_FROM = 2
_LOCK, _MAKING = ".lock", ".tmp-segment"


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did."""

    added: int  # documents
    replaced: int
    removed: int
    unchanged: int
    chunks: int  # new rows
    embedded: int  # texts that no vector was there for
    rejected: tuple[Rejected, ...]
    compacted: bool
    manifest: Manifest


def update(
    folder: Path,
    *,
    add: Path | None = None,
    remove: Collection[str] = (),
    embedder: Path | None = None,
    compact: bool = False,
) -> Updated:
    """Change an index.

    Args:
        folder: of the index.
        add: file or folder of documents; one with the id of a document that is there takes its place.
        remove: ids of documents to take out.
        embedder: folder of its embedder; None: where the build found it.
        compact: write it anew without the rows that no longer count, however few they are.

    Raises:
        NotFound: if the folder is no index, or has no document of an id to remove.
        InvalidInput: if it is damaged.
        Refused: if another update is running, nothing would be left, or the embedder is missing or another one.
    """
    with _locked(folder):
        _sweep(folder, read_manifest(folder))
        index = open_index(folder, embedder)
        documents = _Documents(index)
        doomed = {documents.number(identity) for identity in remove}
        change = _read(index, documents, add, doomed) if add is not None else _Change(Prepared(), frozenset(), 0)
        return _commit(documents, change, doomed, _digests(index, add), compact)


class _Documents:
    """The documents of an index that have chunks which count."""

    def __init__(self, index: OpenIndex) -> None:
        self.index = index
        counting = np.zeros(len(index.documents), dtype=bool)
        counting[index.document_of[index.live_rows()]] = True
        self.numbers = {one.id: number for number, one in enumerate(index.documents) if counting[number]}

    def number(self, identity: str) -> int:
        """Return the number of a document. Raises NotFound if there is none."""
        if identity not in self.numbers:
            raise NotFound(f"has no document {identity!r}.", where=str(self.index.folder))
        return self.numbers[identity]

    def rows_of(self, numbers: Collection[int]) -> NDArray[np.int64]:
        """Return the rows of some documents, ascending."""
        return np.flatnonzero(np.isin(self.index.document_of, sorted(numbers))).astype(np.int64)


@dataclass(frozen=True, slots=True)
class _Change:
    """What the documents to add come to. The new segment is in the folder `.tmp-segment`, if there are chunks."""

    prepared: Prepared
    replaced: frozenset[int]  # documents whose place new ones take
    unchanged: int


def _read(index: OpenIndex, documents: _Documents, add: Path, doomed: Collection[int]) -> _Change:
    settings = index.manifest.settings
    corpus = Corpus.model_validate({**settings["corpus"], "path": str(add)})
    counter = WordCounter() if index.manifest.embedder is None else embedder_counter(index)
    preparation = Preparation(corpus, Chunking.model_validate(settings["chunks"]), counter)
    replaced: set[int] = set()
    new: list[Document] = []
    unchanged = 0
    for document in preparation.documents():
        there = documents.numbers.get(document.id)
        if there is not None and there not in doomed:
            if index.documents[there] == Kept.of(document):
                unchanged += 1
                continue
            replaced.add(there)
        new.append(document)
    staying = np.setdiff1d(index.live_rows(), documents.rows_of({*doomed, *replaced}))
    known = duplicates_of((index.chunk(int(row)) for row in staying), corpus.near_duplicates)
    prepared = preparation.write(new, index.folder / _MAKING, known)
    return _Change(prepared, frozenset(replaced), unchanged)


def embedder_counter(index: OpenIndex) -> TokenCounter:
    """Return what counts tokens as the index's embedder does."""
    return require_embedder(index).counter()


def _commit(
    documents: _Documents, change: _Change, doomed: Collection[int], read: Sequence[FileDigest], compact: bool
) -> Updated:
    index = documents.index
    folder, manifest = index.folder, index.manifest
    making, number = folder / _MAKING, max(manifest.segments) + 1
    removed = np.union1d(index.removed, documents.rows_of({*doomed, *change.replaced}))
    segments, embedded = list(manifest.segments), 0
    rejected = list(change.prepared.rejected)
    if change.prepared.chunks:
        if manifest.embedder is not None:
            embedded, blind = _embed(index, Segment(making), making / VECTORS)
            removed = np.union1d(removed, blind + len(index))
            rejected += rejected_blind(Segment(making), blind)
        making.rename(folder / Names.segment(number))
        segments, number = [*segments, number], number + 1
    elif making.exists():
        shutil.rmtree(making)
    rows = len(index) + change.prepared.chunks
    if len(removed) >= rows:
        raise Refused("would have nothing left.", hint="Delete the folder instead.", where=str(folder))
    compacts = len(removed) > 0 and (compact or len(removed) >= COMPACT_FROM * rows)
    added = change.prepared.documents - len(change.replaced)
    parts = Parts(
        settings=manifest.settings,
        corpus=[*manifest.corpus, *map(asdict, read)],
        removed=removed.astype(np.int64),
        rejected=rejected,
        counts=replace(
            manifest.counts,
            documents=len(documents.numbers) - len(set(doomed) - change.replaced) + max(added, 0),
            rejected=manifest.counts.rejected + len(rejected),
            duplicates=manifest.counts.duplicates + change.prepared.duplicates,
        ),
        embedder=manifest.embedder,
        index=IndexSettings.model_validate(manifest.settings["index"]),
        seed=int(manifest.settings["seed"]),
        segments=segments,
        generation=manifest.generation + 1,
    )
    if compacts:
        parts = _compacted(folder, parts, number)
    made = assemble(folder, parts, earlier=None if compacts else _earlier(index, rows))
    _sweep(folder, made)
    return Updated(
        added=max(added, 0),
        replaced=len(change.replaced),
        removed=len(set(doomed) - change.replaced),
        unchanged=change.unchanged,
        chunks=change.prepared.chunks,
        embedded=embedded,
        rejected=tuple(rejected),
        compacted=compacts,
        manifest=made,
    )


def _earlier(index: OpenIndex, rows: int) -> Earlier | None:
    """Return the vectors that are there, to be added to; None where so many call for another index."""
    used, embedder = index.manifest.vectors, index.manifest.embedder
    if used is None or embedder is None or rows > RETRAIN_FROM * len(index):
        return None
    wanted = choose_index(rows, embedder.dimension, factory=index.manifest.settings["index"]["factory"])
    kinds = [parse_factory(text, embedder.dimension).lists > 0 for text in (wanted.factory, used.factory)]
    vectors = index.load_vectors(writable=True) if kinds[0] == kinds[1] else None
    return Earlier(vectors, used) if vectors is not None else None


def _digests(index: OpenIndex, add: Path | None) -> list[FileDigest]:
    if add is None:
        return []
    return file_digests(Corpus.model_validate({**index.manifest.settings["corpus"], "path": str(add)}))


def require_embedder(index: OpenIndex) -> Encoder:
    """Return the embedder of an index, as its vectors were made. Raises Refused if it is missing or another one."""
    from engine.rag.embedder import load_encoder

    used = index.manifest.embedder
    assert used is not None
    if index.embedder_path is None:
        raise Refused(
            f"needs its embedder {used.name} to take documents in, and the folder of it is not known here.",
            hint="Name it with --embedder FOLDER.",
            where=str(index.folder),
        )
    settings = Embedder.model_validate(
        {
            "path": str(index.embedder_path),
            "precision": used.precision,
            "query_prompt": used.query_prompt,
            "passage_prompt": used.passage_prompt,
        }
    )
    encoder = load_encoder(settings)
    require_same_embedder(index, embedder_used(encoder))
    return encoder


def _embed(index: OpenIndex, segment: Segment, file: Path) -> tuple[int, NDArray[np.int64]]:
    """Write the vectors of a new segment; return how many were made, and the rows that have no direction."""
    encoder = require_embedder(index)
    taken = rows_with(segment.texts(), index, embedder_used(encoder))
    vectors = np.empty((len(segment), encoder.dimension), dtype=np.float32)
    for row, there in taken:
        vectors[row] = index.vector(int(there))
    wanted = np.setdiff1d(np.arange(len(segment)), taken[:, 0])
    if len(wanted):
        vectors[wanted] = encoder.encode_passages([segment.text(int(row)) for row in wanted])
    blind = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).astype(np.int64)
    vectors[blind] = stand_in(encoder.dimension)
    np.save(file, vectors)
    return len(wanted), blind


def _compacted(folder: Path, parts: Parts, number: int) -> Parts:
    """Write one segment of all rows that count, and return the parts of an index that has it alone."""
    target = folder / Names.segment(number)
    dead, start = set(parts.removed.tolist()), 0
    vectors: list[NDArray[np.float32]] = []
    with SegmentWriter(target) as writer:
        for each in parts.segments:
            segment = Segment(folder / Names.segment(each))
            rows = [row for row in range(len(segment)) if start + row not in dead]
            begun = None
            for row in rows:
                document = int(segment.document_of[row])
                if document != begun:
                    writer.begin(segment.document(document))
                    begun = document
                writer.add(segment.chunk(row))
            found = segment.vectors()
            if found is not None:
                vectors.append(found[rows])
            start += len(segment)
    if vectors:
        np.save(target / VECTORS, np.concatenate(vectors))
    return replace(parts, segments=[number], removed=np.empty(0, dtype=np.int64))


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove what does not belong to the index: files of earlier generations, and of updates that were cut off."""
    belong = {file.relative_to(folder).parts[0] for file in belonging(folder, manifest)}
    belong |= {FILE, PROVENANCE, _LOCK}
    for path in folder.iterdir():
        if path.name not in belong:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who changes an index. Raises Refused if another process does."""
    read_manifest(folder)  # whose absence is the better message
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Refused("is being changed by another process.", hint="Wait for it.", where=str(folder)) from None
        yield
