"""Changes of an index in place: documents added, replaced and removed, without embedding again what is there.

An update writes new files beside those that the manifest names, then replaces the manifest, then removes what no
longer belongs. Who has the index open goes on with the old files; a cut-off update leaves the old index, and in
`.blocks` what it has embedded, which the next one takes over.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.errors import NotFound, Refused, RunFailed
from engine.plan.factories import parse_factory
from engine.plan.rag import choose_index
from engine.rag.assembling import Earlier, Parts, assemble, embedder_used, rejected_blind, stand_in
from engine.rag.chunks.copies import Copying, bereft, copying_documents, told
from engine.rag.chunks.rejects import read_rejects
from engine.rag.chunks.tokens import WordCounter
from engine.rag.embedding.blocks import embed_blocks
from engine.rag.embedding.pieces import pieces_of, with_texts
from engine.rag.embedding.reuse import require_same_embedder, rows_with
from engine.rag.lineage import settle
from engine.rag.manifest import Manifest, Names, belonging, read_manifest
from engine.rag.opening import OpenIndex, open_index
from engine.rag.preparing import Preparation, Prepared, duplicates_of
from engine.rag.reading.digests import FileDigest, file_digests
from engine.rag.records import Document, Rejected
from engine.rag.segments import VECTORS, Kept, Segment, SegmentWriter
from engine.spec.rag import Chunking, Corpus, IndexSettings

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

# From this share of rows that no longer count on, the index is written anew without them.
COMPACT_FROM = 0.25
# From this many times the rows that the lists were trained for on, they are trained anew.
RETRAIN_FROM = 2
_LOCK, _MAKING, _BLOCKS = ".lock", ".tmp-segment", ".blocks"
_OWN = re.compile(
    r"(segment|lexical)-\d{3,}|vectors-\d{3,}\.faiss|removed-\d{3,}\.npy|rejects-\d{3,}\.jsonl|\.(tmp|new)-.+|\.blocks"
)

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update did."""

    added: int  # documents
    replaced: int
    removed: int
    unchanged: int
    chunks: int  # new rows
    embedded: int  # texts that no vector was there for, neither in the index nor of an update that was cut off
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
        RunFailed: if the folder cannot be written, as on a full disk; the index is as it was.
    """
    with _told_of_the_disk(folder), _locked(folder):
        manifest = read_manifest(folder)
        settle(folder, manifest.generation)
        _sweep(folder, manifest, but=_BLOCKS)
        change = _Change(open_index(folder, embedder), remove)
        if add is not None:
            change.read(add)
        return change.commit(compact)


class _Change:
    """What is to become of an index. New chunks are in the folder `.tmp-segment`, if there are any."""

    def __init__(self, index: OpenIndex, remove: Collection[str]) -> None:
        self._index = index
        counting = np.zeros(len(index.documents), dtype=bool)
        counting[index.document_of[index.live_rows()]] = True
        # The documents that have rows which count.
        self._numbers = {one.id: number for number, one in enumerate(index.documents) if counting[number]}
        self._copying = copying_documents(index, self._numbers.values())
        self._doomed = {self._number(identity) for identity in remove}
        self._replaced: set[int] = set()
        self._unchanged = 0
        self._added: set[str] = set()  # ids of documents that were read
        self._files: list[FileDigest] = []
        self._prepared = Prepared()

    def _number(self, identity: str) -> int:
        if identity not in self._numbers:
            raise NotFound(f"has no document {identity!r}.", where=str(self._index.folder))
        return self._numbers[identity]

    @cached_property
    def _encoder(self) -> Encoder:
        return require_embedder(self._index)

    def _staying(self) -> NDArray[np.int64]:
        """Return the rows that count before and after."""
        gone = np.isin(self._index.document_of, sorted(self._doomed | self._replaced))
        return np.setdiff1d(self._index.live_rows(), np.flatnonzero(gone))

    def read(self, add: Path) -> None:
        """Read documents, and cut those that are new or others than before."""
        index, settings = self._index, self._index.manifest.settings
        corpus = Corpus.model_validate({**settings["corpus"], "path": str(add)})
        self._files = file_digests(corpus)
        counter = WordCounter() if index.manifest.embedder is None else self._encoder.counter()
        preparation = Preparation(corpus, Chunking.model_validate(settings["chunks"]), counter)
        lacking = {one.number for one in self._copying}
        new: dict[str, Document] = {}
        unsure: dict[int, str] = {}  # as before, and lacking chunks that copy others: they may be gone now
        for document in preparation.documents():
            self._added.add(document.id)
            there = self._numbers.get(document.id)
            if there is not None and there not in self._doomed:
                if index.documents[there] != Kept.of(document):
                    self._replaced.add(there)
                elif there in lacking:
                    unsure[there] = document.id
                else:
                    self._unchanged += 1
                    continue
            new[document.id] = document
        lost = {one.number for one in bereft(index, self._copying, self._staying())}
        for number, identity in unsure.items():
            if number in lost:
                self._replaced.add(number)
            else:
                self._unchanged += 1
                del new[identity]
        staying = (index.chunk(int(row)) for row in self._staying())
        known = duplicates_of(staying, corpus.near_duplicates, index.folder)
        self._prepared = preparation.write(new.values(), index.folder / _MAKING, known)

    def commit(self, compact: bool) -> Updated:
        """Write what is new, put the new manifest in place, and remove what does not belong to it."""
        index, prepared = self._index, self._prepared
        folder, manifest = index.folder, index.manifest
        staying = self._staying()
        rejected = [*prepared.rejected, *told(self._stranded(staying))]
        if not len(staying) and not prepared.chunks:
            raise self._nothing_left()
        removed = np.setdiff1d(np.arange(len(index)), staying)
        segments, number, embedded, truncated = list(manifest.segments), max(manifest.segments) + 1, 0, 0
        new = Segment(folder / _MAKING) if prepared.chunks else None
        if new is not None:
            if manifest.embedder is not None:
                embedded, blind = self._embed(new)
                truncated = len(self._encoder.truncated(list(new.texts())))
                removed = np.union1d(removed, blind + len(index))
                rejected += rejected_blind(new, blind)
            new.folder.rename(folder / Names.segment(number))
            segments, number = [*segments, number], number + 1
        rows = len(index) + prepared.chunks
        if len(removed) >= rows:
            raise self._nothing_left()
        compacts = len(removed) > 0 and (compact or len(removed) >= COMPACT_FROM * rows)
        parts = Parts(
            settings=manifest.settings,
            corpus=_united(manifest.corpus, map(asdict, self._files), key=lambda file: tuple(sorted(file.items()))),
            removed=removed.astype(np.int64),
            rejected=_united(read_rejects(folder / manifest.names().rejects), rejected, key=lambda one: one),
            counts=replace(
                manifest.counts,
                duplicates=manifest.counts.duplicates + prepared.duplicates,
                truncated=manifest.counts.truncated + truncated,
            ),
            embedder=manifest.embedder,
            index=IndexSettings.model_validate(manifest.settings["index"]),
            seed=int(manifest.settings["seed"]),
            segments=segments,
            generation=manifest.generation + 1,
            known=manifest.files,
        )
        if compacts:
            parts = self._compacted(parts, number)
        made = assemble(folder, parts, earlier=None if compacts else _earlier(index, rows))
        _sweep(folder, made)
        there = {one.id for one in _documents_of(new)}
        replaced = {index.documents[each].id for each in self._replaced}
        return Updated(
            added=len(there - replaced),
            replaced=len(self._replaced),
            removed=len(self._doomed),
            unchanged=self._unchanged,
            chunks=prepared.chunks,
            embedded=embedded,
            rejected=tuple(rejected),
            compacted=compacts,
            manifest=made,
        )

    def _stranded(self, staying: NDArray[np.int64]) -> list[Copying]:
        """Return the documents that stay, and lose with this change what stood for chunks of theirs."""
        gone = self._doomed | self._replaced
        concerned = [one for one in self._copying if one.number not in gone and one.document not in self._added]
        lost = bereft(self._index, concerned, staying)
        before = bereft(self._index, lost, self._index.live_rows())
        return [one for one in lost if one not in before]

    def _nothing_left(self) -> Refused:
        return Refused("would have nothing left.", hint="Delete the folder instead.", where=str(self._index.folder))

    def _embed(self, segment: Segment) -> tuple[int, NDArray[np.int64]]:
        """Write the vectors of a new segment; return how many were made, and the rows that have no direction."""
        index, encoder = self._index, self._encoder
        taken = rows_with(segment.texts(), index, embedder_used(encoder))
        shape = (len(segment), encoder.dimension)
        vectors = np.lib.format.open_memmap(segment.folder / VECTORS, mode="w+", dtype=np.float32, shape=shape)
        for row, there in taken:
            vectors[row] = index.vector(int(there))
        wanted = np.setdiff1d(np.arange(len(segment)), taken[:, 0])
        pieces = pieces_of(segment, wanted, int(index.manifest.settings["index"]["block_size"]), encoder)
        embedded = 0
        blocks = embed_blocks(
            encoder,
            with_texts(segment, pieces),
            index.folder / _BLOCKS,
            told=lambda _texts, _tokens: None,
            stop=lambda: False,
        )
        for piece, block in zip(pieces, blocks, strict=True):
            vectors[piece.rows] = np.load(block.file, allow_pickle=False)
            embedded += block.embedded
        blind = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).astype(np.int64)
        vectors[blind] = stand_in(encoder.dimension)
        vectors.flush()
        return embedded, blind

    def _compacted(self, parts: Parts, number: int) -> Parts:
        """Write one segment of all rows that count, and return the parts of an index that has it alone."""
        folder = self._index.folder
        target = folder / Names.segment(number)
        segments = [Segment(folder / Names.segment(each)) for each in parts.segments]
        starts = np.cumsum([0, *map(len, segments)])
        live = np.setdiff1d(np.arange(starts[-1]), parts.removed)
        rows = [live[(live >= start) & (live < stop)] - start for start, stop in pairwise(starts)]
        with SegmentWriter(target) as writer:
            for segment, chosen in zip(segments, rows, strict=True):
                begun = None
                for row in chosen:
                    document = int(segment.document_of[row])
                    if document != begun:
                        writer.begin(segment.document(document))
                        begun = document
                    writer.add(segment.chunk(int(row)))
            new = segments[len(self._index.segments) :]
            for one in self._copying:
                stays = one.number not in self._doomed | self._replaced
                if stays and (one.number is not None or not new or one.document not in self._added):
                    for original in sorted(one.originals):
                        writer.leave_out(one.document, one.source, original)
            for line in (line for segment in new for line in segment.copies):
                writer.leave_out(line["document"], line["source"], line["of"])
        if parts.embedder is not None:
            shape = (len(live), parts.embedder.dimension)
            vectors = np.lib.format.open_memmap(target / VECTORS, mode="w+", dtype=np.float32, shape=shape)
            start = 0
            for segment, chosen in zip(segments, rows, strict=True):
                if segment.vectors is not None:
                    vectors[start : start + len(chosen)] = segment.vectors[chosen]
                start += len(chosen)
            vectors.flush()
        return replace(parts, segments=[number], removed=np.empty(0, dtype=np.int64))


def _documents_of(segment: Segment | None) -> Iterator[Kept]:
    return (segment.document(number) for number in range(len(segment.documents))) if segment is not None else iter(())


def _united(earlier: Iterable[Item], later: Iterable[Item], key: Callable[[Item], object]) -> list[Item]:
    """Return both, in order, without what has the key of an earlier one."""
    united: dict[object, Item] = {}
    for each in (*earlier, *later):
        united.setdefault(key(each), each)
    return list(united.values())


def _earlier(index: OpenIndex, rows: int) -> Earlier | None:
    """Return the vectors that are there, to be added to; None where so many call for another index."""
    used, embedder = index.manifest.vectors, index.manifest.embedder
    if used is None or embedder is None or rows > RETRAIN_FROM * used.made_of:
        return None
    wanted = choose_index(rows, embedder.dimension, factory=index.manifest.settings["index"]["factory"])
    kinds = [parse_factory(text, embedder.dimension).lists > 0 for text in (wanted.factory, used.factory)]
    vectors = index.load_vectors(writable=True) if kinds[0] == kinds[1] else None
    return Earlier(vectors, used) if vectors is not None else None


def require_embedder(index: OpenIndex) -> Encoder:
    """Return the embedder of an index, as its vectors were made. Raises Refused if it is missing or another one."""
    used = index.manifest.embedder
    assert used is not None
    encoder = index.load_embedder("taking documents in needs", precision=used.precision)
    require_same_embedder(index, embedder_used(encoder))
    return encoder


def _sweep(folder: Path, manifest: Manifest, but: str | None = None) -> None:
    """Remove files of earlier generations, and of updates that were cut off. but: what stays."""
    belong = {file.relative_to(folder).parts[0] for file in belonging(folder, manifest)} | {but}
    for path in folder.iterdir():
        if path.name not in belong and _OWN.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Be the only one who changes an index. Raises Refused if another process does."""
    read_manifest(folder)  # whose absence is the better message
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("is being changed by another process.", hint="Wait for it.", where=str(folder)) from None
        yield


@contextmanager
def _told_of_the_disk(folder: Path) -> Iterator[None]:
    """Turn what the system says of the folder into one sentence."""
    try:
        yield
    except OSError as error:
        where = str(error.filename or folder)
        raise RunFailed(f"{error.strerror or error} while changing the index.", where=where) from error
