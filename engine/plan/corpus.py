"""The plan of an index: from a spec to chunks, bytes and seconds, without reading a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Refused
from engine.plan.config import read_json
from engine.plan.place import Place
from engine.plan.rag import CHUNKS_ASSUMPTION, RagPlan, choose_index, chunks_of_bytes, estimate
from engine.plan.sizes import in_words
from engine.spec.models import RagSpec

_PACKED = {".gz": 4.0, ".parquet": 3.0, ".pdf": 0.1}  # bytes of text that a byte of such a file holds, roughly
_WORDS = 1.0  # bytes of the BM25 index a byte of text, roughly


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """What a build will need. `errors` say why it cannot run as it is."""

    files: int
    corpus_bytes: int
    chunks: int  # estimated
    vectors: RagPlan | None  # None: an index of words alone
    disk_bytes: int  # below the run directory, at most
    kept_bytes: int  # of the finished index
    warnings: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it can run as it is."""
        return not self.errors


def plan_index(spec: RagSpec, place: Place, *, chunks_per_second: float | None = None) -> IndexPlan:
    """Return the plan of a build whose paths are absolute. Of the documents only the sizes are looked at.

    Raises:
        Refused: if corpus or embedder are not on this machine.
        InvalidInput: if the index that is asked for cannot be.
    """
    files = list(_files(Path(spec.corpus.path)))
    text = round(sum(size * _PACKED.get(file.suffix.lower(), 1.0) for file, size in files))
    chunks = max(1, chunks_of_bytes(text, chunk_tokens=spec.chunks.tokens, overlap=spec.chunks.overlap))
    words = round(text * _WORDS) if spec.index.lexical else 0
    warnings = [f"The number of chunks is a guess: {CHUNKS_ASSUMPTION}."]
    errors: list[str] = []
    if spec.embedder is None:
        kept = text + words
        return IndexPlan(len(files), text, chunks, None, 2 * kept, kept, tuple(warnings), ())
    dimension = embedder_dimension(Path(spec.embedder.path))
    capacity = place.capacity * place.ranks if place.on_cpu else None
    choice = choose_index(
        chunks,
        dimension,
        factory=spec.index.factory,
        memory_bytes=capacity,
        training_vectors=spec.index.training_vectors or None,
    )
    vectors = estimate(chunks, dimension, choice, chunks_per_second=chunks_per_second)
    warnings += [f"{sentence[0].upper()}{sentence[1:]}." for sentence in choice.warnings]
    if capacity is not None and vectors.building_bytes is not None and vectors.building_bytes > capacity:
        errors.append(
            f"Building it takes {in_words(vectors.building_bytes)} of memory, of {in_words(capacity)}: choose a "
            f"smaller index.factory, or a larger machine."
        )
    kept = text + words + vectors.vectors_bytes + (vectors.index_bytes or vectors.vectors_bytes)
    # Finished blocks and the file of all vectors are there at once; chunks lie in work and in the index.
    at_once = kept + 2 * vectors.vectors_bytes + text
    return IndexPlan(len(files), text, chunks, vectors, at_once, kept, tuple(warnings), tuple(errors))


def embedder_dimension(folder: Path) -> int:
    """Return the length of the vectors of a sentence-transformers folder, by its configuration.

    Raises:
        Refused: if it is not on this machine, or does not tell.
    """
    if not (folder / "modules.json").is_file():
        raise Refused("the embedder is not on this machine, so its vectors are unknown.", where=str(folder))
    found = None
    for file in sorted(folder.glob("*/config.json")):
        document = read_json(file)
        for key in ("out_features", "embedding_dimension", "word_embedding_dimension"):
            value = document.get(key)
            if isinstance(value, int):
                found = value
                break
    if found is None:
        hidden = read_json(folder / "config.json").get("hidden_size") if (folder / "config.json").is_file() else None
        found = hidden if isinstance(hidden, int) else None
    if found is None:
        raise Refused("the embedder does not tell how long its vectors are.", where=str(folder))
    return found


def _files(path: Path) -> Iterator[tuple[Path, int]]:
    if not path.exists():
        raise Refused("the documents are not on this machine, so their size is unknown.", where=str(path))
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.is_file() and not file.name.startswith("."):
            yield file, file.stat().st_size
