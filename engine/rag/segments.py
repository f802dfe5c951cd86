"""A segment of an index: some documents, their chunks in order, and the vectors of these.

| file | holds |
|---|---|
| `documents.jsonl`, `.npy` | a document a line: `id`, `title`, `source`, `metadata`, `sha256` of the text; offsets |
| `chunks.jsonl`, `.npy` | a chunk a line: `id`, `start`, `end`, `heading`, `text`; offsets |
| `copies.jsonl`, `.npy` | a chunk that was left out a line: `document`, its `source`, `of`, the id of what it copies |
| `document_of.npy` | int32 [chunks], the document of each, counted from 0 within the segment |
| `vectors.npy` | float32 [chunks, dimension], unit vectors; absent in an index of words alone |
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput
from engine.rag.arrays import load_array
from engine.rag.lines import Lines, LineWriter
from engine.rag.records import Chunk, Document, Scalar

DOCUMENTS, CHUNKS, COPIES = "documents.jsonl", "chunks.jsonl", "copies.jsonl"
DOCUMENT_OF, VECTORS = "document_of.npy", "vectors.npy"


@dataclass(frozen=True, slots=True)
class Kept:
    """What an index keeps of a document: all but its text."""

    id: str
    title: str
    source: str
    metadata: Mapping[str, Scalar]
    sha256: str  # of the text

    @classmethod
    def of(cls, document: Document) -> Kept:
        """Return what is kept of a document."""
        digest = hashlib.sha256(document.text.encode()).hexdigest()
        return cls(document.id, document.title, document.source, dict(document.metadata), digest)


class SegmentWriter:
    """Writes documents and chunks to a folder. Chunks belong to the document that was written last."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self.documents, self.chunks = LineWriter(folder / DOCUMENTS), LineWriter(folder / CHUNKS)
        self.copies = LineWriter(folder / COPIES)
        self._document_of = array("i")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.documents.__exit__()
        self.chunks.__exit__()
        self.copies.__exit__()
        np.save(self._folder / DOCUMENT_OF, np.frombuffer(self._document_of, dtype=np.int32))

    def begin(self, document: Kept) -> None:
        """Write a document, whose chunks follow."""
        self.documents.append(
            {
                "id": document.id,
                "title": document.title,
                "source": document.source,
                "metadata": dict(document.metadata),
                "sha256": document.sha256,
            }
        )

    def add(self, chunk: Chunk) -> None:
        """Write a chunk of the last document."""
        self.chunks.append(
            {"id": chunk.id, "start": chunk.start, "end": chunk.end, "heading": chunk.heading, "text": chunk.text}
        )
        self._document_of.append(len(self.documents) - 1)

    def leave_out(self, document: str, source: str, original: str) -> None:
        """Write that a chunk of a document was left out as a copy of the chunk with the id `original`."""
        self.copies.append({"document": document, "source": source, "of": original})


class Segment:
    """A segment, memory-mapped.

    Raises:
        InvalidInput: if its files are damaged or do not belong together.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.documents, self.chunks = Lines(folder / DOCUMENTS), Lines(folder / CHUNKS)
        self.copies = Lines(folder / COPIES)
        self.document_of: NDArray[np.int32] = load_array(folder / DOCUMENT_OF, np.int32)
        if len(self.document_of) != len(self.chunks):
            raise InvalidInput("is damaged: its files are not of one segment.", where=str(folder))
        if len(self) and not 0 <= int(self.document_of.min()) <= int(self.document_of.max()) < len(self.documents):
            raise InvalidInput("is damaged: it has rows of no document.", where=str(folder / DOCUMENT_OF))

    def __len__(self) -> int:
        return len(self.chunks)

    def document(self, number: int) -> Kept:
        """Return a document, counted from 0 within the segment."""
        try:
            return Kept(**self.documents[number])
        except TypeError as error:
            raise self.documents.damaged(number) from error

    def chunk(self, row: int) -> Chunk:
        """Return a chunk, counted from 0 within the segment."""
        document = self.document(int(self.document_of[row])).id
        try:
            return Chunk(document=document, **self.chunks[row])
        except TypeError as error:
            raise self.chunks.damaged(row) from error

    def text(self, row: int) -> str:
        """Return the text of a chunk."""
        text = self.chunks[row].get("text")
        if not isinstance(text, str):
            raise self.chunks.damaged(row)
        return text

    def texts(self) -> Iterator[str]:
        """Yield the texts of all chunks."""
        return map(self.text, range(len(self)))

    @cached_property
    def vectors(self) -> NDArray[np.float32] | None:
        """The vectors, float32 [chunks, dimension]; None if there are none."""
        file = self.folder / VECTORS
        if not file.exists():
            return None
        vectors = load_array(file, np.float32, 2)
        if len(vectors) != len(self):
            raise InvalidInput("is damaged: it does not hold a vector for each chunk.", where=str(file))
        return vectors
