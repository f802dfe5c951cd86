"""From documents to a segment of chunks: read, cut, leave out copies, and tell of everything that was left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.rag.chunks.chunking import chunk_documents
from engine.rag.chunks.duplicates import Duplicates
from engine.rag.chunks.tokens import TokenCounter
from engine.rag.reading.documents import read_documents
from engine.rag.records import Chunk, Document, Rejected
from engine.rag.segments import Kept, SegmentWriter
from engine.spec.rag import Chunking, Corpus


@dataclass(slots=True)
class Prepared:
    """What was read and what came of it."""

    documents: int = 0  # that have chunks
    chunks: int = 0
    duplicates: int = 0
    rejected: list[Rejected] = field(default_factory=list)


class Preparation:
    """One pass over a corpus.

    Arguments:
        corpus, chunking: as the spec says.
        counter: of tokens.
        told: called with the counts so far, after each document.
    """

    def __init__(
        self,
        corpus: Corpus,
        chunking: Chunking,
        counter: TokenCounter,
        told: Callable[[Prepared], None] = lambda _: None,
    ) -> None:
        self._corpus, self._chunking, self._counter = corpus, chunking, counter
        self._told = told
        self._pending: dict[str, Kept] = {}  # read, and not yet cut
        self.prepared = Prepared()

    def documents(self) -> Iterator[Document]:
        """Yield the documents of the corpus."""
        yield from read_documents(self._corpus, self.prepared.rejected.append)

    def write(self, documents: Iterable[Document], folder: Path, duplicates: Duplicates) -> Prepared:
        """Write the segment of some documents to a new folder.

        duplicates: knows the chunks that are there already. Documents of which nothing is left are rejected.
        """
        with SegmentWriter(folder) as segment:
            begun: Kept | None = None
            for chunk in chunk_documents(self._noted(documents), self._chunking, self._counter):
                kept = begun if begun is not None and begun.id == chunk.document else self._pending[chunk.document]
                original = duplicates.add(chunk)
                if original is not None:
                    self.prepared.duplicates += 1
                    segment.leave_out(kept.id, kept.source, original)
                    continue
                if kept is not begun:
                    begun = kept
                    self._leave_out(before=begun.id)
                    segment.begin(self._pending.pop(begun.id))
                    self.prepared.documents += 1
                    self._told(self.prepared)
                segment.add(chunk)
                self.prepared.chunks += 1
            self._leave_out(before=None)
        return self.prepared

    def _noted(self, documents: Iterable[Document]) -> Iterator[Document]:
        for document in documents:
            self._pending[document.id] = Kept.of(document)
            yield document

    def _leave_out(self, before: str | None) -> None:
        """Reject the documents that were read before this one and left no chunk: all of theirs are copies."""
        for identity in list(self._pending):
            if identity == before:
                break
            kept = self._pending.pop(identity)
            self.prepared.rejected.append(Rejected(kept.source, "has nothing that other documents do not have"))


def duplicates_of(chunks: Iterable[Chunk], near: float | None, folder: Path) -> Duplicates:
    """Return what knows some chunks. folder: on a disk with room for what it remembers."""
    known = Duplicates(near, folder)
    for chunk in chunks:
        known.add(chunk)
    return known
