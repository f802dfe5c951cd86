"""An index that is opened: memory-mapped, checked against its manifest, ready to be searched."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InvalidInput, NotFound, Refused
from engine.rag.arrays import load_array
from engine.rag.assembling import rows_of
from engine.rag.manifest import Manifest, Names, read_manifest
from engine.rag.records import Chunk
from engine.rag.searching.lexical import LexicalIndex, open_lexical
from engine.rag.searching.search import EmbedderIdentity, Searcher
from engine.rag.segments import Kept, Segment
from engine.spec.rag import Embedder

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder
    from engine.rag.vectors.index import VectorIndex


class OpenIndex:
    """An index on disk. It is `engine.rag.searching.search.Searched`.

    Arguments:
        folder: of the index.
        embedder: folder of the embedder, for queries; None: there is none, and search is by words alone.

    Raises:
        NotFound: the folder is no index.
        InvalidInput: it is damaged.
    """

    def __init__(self, folder: Path, embedder: Path | None = None) -> None:
        self.folder, self.embedder_path = folder, embedder
        self.manifest: Manifest = read_manifest(folder)
        self.name = folder.name if folder.name != "index" else f"{folder.parent.name}/{folder.name}"
        for name, written in self.manifest.files.items():
            file = folder / name
            if not file.is_file() or file.stat().st_size != written["bytes"]:
                raise InvalidInput(
                    f"{name} is missing or cut off.", hint="Build it again, or copy it whole.", where=str(folder)
                )
        self.segments = [Segment(folder / Names.segment(number)) for number in self.manifest.segments]
        self._starts = [0]
        documents = [0]
        for segment in self.segments:
            self._starts.append(self._starts[-1] + len(segment))
            documents.append(documents[-1] + len(segment.documents))
        if self._starts[-1] != self.manifest.counts.chunks:
            raise InvalidInput("its segments are not those of its manifest.", where=str(folder))
        self.document_of: NDArray[np.int32] = np.concatenate(
            [segment.document_of + start for segment, start in zip(self.segments, documents, strict=False)]
            or [np.empty(0, dtype=np.int32)]
        ).astype(np.int32)
        self.documents: Sequence[Kept] = _Documents(self.segments, documents)
        self.document_starts: Sequence[int] = documents  # by segment: the number of its first document; all of them
        self.removed: NDArray[np.int64] = np.array(load_array(folder / self._names.removed, np.int64))
        ascend = (np.diff(self.removed) > 0).all()
        if len(self.removed) and not (ascend and self.removed[0] >= 0 and self.removed[-1] < len(self)):
            raise InvalidInput("is damaged: it names rows that are none.", where=str(folder / self._names.removed))
        # Opened now: an update removes the files, and what is mapped stays.
        self.lexical: LexicalIndex | None = (
            open_lexical(folder / self._names.lexical) if self.manifest.lexical else None
        )
        if self.manifest.embedder is not None:
            rows_of(self.segments, self.manifest.embedder.dimension)

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def _names(self) -> Names:
        return self.manifest.names()

    @property
    def embedder(self) -> EmbedderIdentity | None:
        """What made the vectors."""
        used = self.manifest.embedder
        return EmbedderIdentity(used.name, used.fingerprint) if used is not None else None

    @cached_property
    def vectors(self) -> VectorIndex | None:
        """The vectors, searchable."""
        return self.load_vectors()

    def load_vectors(self, *, writable: bool = False) -> VectorIndex | None:
        """Return the vectors, if it has any; writable ones are in memory and can be added to."""
        used, name = self.manifest.embedder, self._names.vectors
        if used is None or self.manifest.vectors is None:
            return None
        from engine.rag.vectors.index import load

        written = self.manifest.files[name]
        return load(
            self.folder / name,
            rows_of(self.segments, used.dimension),
            sha256=written["sha256"],
            bytes=written["bytes"],
            effort=self.manifest.vectors.effort,
            writable=writable,
        )

    def chunk(self, row: int) -> Chunk:
        """Return a chunk."""
        segment, within = self._at(row)
        return segment.chunk(within)

    def vector(self, row: int) -> NDArray[np.float32]:
        """Return a chunk's vector, float32 [dimension]."""
        segment, within = self._at(row)
        vectors = segment.vectors
        assert vectors is not None
        return vectors[within]

    def live_rows(self) -> NDArray[np.int64]:
        """Return the rows that count, ascending."""
        return np.setdiff1d(np.arange(len(self), dtype=np.int64), self.removed)

    def load_encoder(self) -> Encoder:
        """Load the embedder for queries.

        Raises:
            Refused: if its folder is not known here.
            InvalidInput: if the folder is none.
        """
        # A query is one short text: nothing is gained by less than fp32.
        return self.load_embedder(
            "searching by meaning needs", "or search by words with --mode lexical", precision="fp32", batch_size=32
        )

    def load_embedder(self, need: str, otherwise: str | None = None, **settings: Any) -> Encoder:
        """Load the embedder as the settings say, with the prompts of the build.

        need: what needs it; otherwise: what else can be done where its folder is not known.

        Raises:
            Refused: if its folder is not known here.
            InvalidInput: if the folder is none.
        """
        used = self.manifest.embedder
        assert used is not None
        if self.embedder_path is None:
            advice = f", {otherwise}" if otherwise else ""
            raise Refused(
                f"{need} the embedder {used.name}, and its folder is not known here.",
                hint=f"Name it with --embedder FOLDER{advice}.",
                where=str(self.folder),
            )
        from engine.rag.embedding.embedder import load_encoder

        prompts = {"query_prompt": used.query_prompt, "passage_prompt": used.passage_prompt}
        return load_encoder(Embedder.model_validate({"path": str(self.embedder_path), **prompts, **settings}))

    def _at(self, row: int) -> tuple[Segment, int]:
        number = bisect.bisect_right(self._starts, row) - 1
        return self.segments[number], row - self._starts[number]


class _Documents(Sequence[Kept]):
    """The documents of all segments."""

    def __init__(self, segments: Sequence[Segment], starts: Sequence[int]) -> None:
        self._segments, self._starts = segments, starts

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number):  # type: ignore[no-untyped-def]
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        at = bisect.bisect_right(self._starts, int(number)) - 1
        return self._segments[at].document(int(number) - self._starts[at])

    def __iter__(self) -> Iterator[Kept]:
        return (segment.document(number) for segment in self._segments for number in range(len(segment.documents)))


def open_index(folder: Path, embedder: Path | None = None) -> OpenIndex:
    """Open an index. embedder: folder of its embedder on this machine; None: where the build found it, if it is there.

    Raises:
        NotFound, InvalidInput: see OpenIndex.
    """
    embedder = embedder if embedder is not None else _built_with(folder)
    while True:
        generation = read_manifest(folder).generation
        try:
            return OpenIndex(folder, embedder)
        except (InvalidInput, NotFound):
            if read_manifest(folder).generation == generation:
                raise  # else an update has just taken the files away


def open_searcher(folder: Path, embedder: Path | None = None) -> Searcher:
    """Open an index to search it (see `open_index`)."""
    return Searcher(open_index(folder, embedder))


def _built_with(folder: Path) -> Path | None:
    """Return the embedder's folder as the index's provenance tells it, if it is on this machine."""
    from engine.job import provenance

    document = provenance.read(folder)
    spec = document.get("spec") if document is not None else None
    embedder = spec.get("embedder") if isinstance(spec, dict) else None
    path = Path(embedder["path"]) if isinstance(embedder, dict) and "path" in embedder else None
    return path if path is not None and path.is_dir() else None
