"""The first stage of a build, on rank 0: documents read and cut into `work/prepared`, unless an earlier attempt has.

Beside the segment lie `ready.json`, the rows that are to be embedded (`wanted.npy`), and where a base has the vectors
of the others (`taken.npy`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import InvalidInput, Refused
from engine.job import durable
from engine.job.attempt import Attempt
from engine.plan.rag import choose_index
from engine.rag.assembling import embedder_used, settings_of
from engine.rag.chunks.duplicates import Duplicates
from engine.rag.chunks.tokens import TokenCounter, WordCounter
from engine.rag.embedding.reuse import known_rows
from engine.rag.manifest import FILE
from engine.rag.preparing import Preparation, Prepared
from engine.rag.reading.digests import file_digests
from engine.rag.records import Rejected
from engine.rag.segments import Segment
from engine.spec.models import RagSpec
from engine.telemetry.records import Level

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

PREPARED, BLOCKS = "work/prepared", "work/blocks"
SEGMENT, WANTED, TAKEN = "segment", "wanted.npy", "taken.npy"
_TELL_SECONDS = 10.0  # between words on how far reading is
_REJECTED_TOLD = 50  # inputs in the event that tells of those left out; the index lists all
_COUNTED_AT_ONCE = 4096  # chunks whose tokens are counted in one go


@dataclass(frozen=True, slots=True)
class Ready:
    """What is known of the segment."""

    key: str  # of all that it depends on
    prepared: Prepared
    corpus: list[dict[str, Any]]
    truncated: int


def tell_rejected(attempt: Attempt, rejected: Sequence[Rejected]) -> None:
    """Tell of inputs that were left out, if there are any."""
    if rejected:
        told = [f"{one.place} {one.reason}" for one in rejected[:_REJECTED_TOLD]]
        message = f"{len(rejected):,} inputs were left out; the first: {told[0]}."
        attempt.journal.event("rejected", message, level=Level.WARNING, count=len(rejected), inputs=told)


class Cutting:
    """Reads the corpus of a spec and cuts it.

    Arguments:
        encoder: whose tokens are counted; None: words are.
    """

    def __init__(self, spec: RagSpec, attempt: Attempt, encoder: Encoder | None) -> None:
        self._spec, self._attempt, self._encoder = spec, attempt, encoder
        self._counter: TokenCounter = WordCounter() if encoder is None else encoder.counter()
        self._told_at = time.monotonic()

    def ready(self) -> Ready:
        """Return what is there then.

        Raises:
            InvalidInput: if no document can be used, or the index that is asked for needs more vectors.
            Refused: if the embedder would cut more chunks than the spec allows.
            Stopped: if a signal came.
        """
        spec, folder = self._spec, self._attempt.run_dir / PREPARED
        files = [asdict(one) for one in file_digests(spec.corpus)]
        key = self._key(files)
        found = _read_ready(folder)
        if found is not None and found.key == key:
            return found
        for stale in (folder, self._attempt.run_dir / BLOCKS) if found is not None else (folder,):
            if stale.exists():
                durable.remove_folder(stale)
        making = folder.with_name(".tmp-prepared")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        prepared = self._cut(making)
        segment = Segment(making / SEGMENT)
        if self._encoder is not None:  # before hours of embedding
            index = spec.index
            choose_index(
                len(segment), self._encoder.dimension, factory=index.factory, training_vectors=index.training_vectors
            )
        ready = Ready(key, prepared, files, self._truncated(segment))
        self._reuse(segment, making)
        durable.write_json(making / "ready.json", asdict(ready))
        durable.sync_all(making)
        durable.replace_folder(making, folder)
        left_out = f"; {prepared.duplicates:,} copies left out" if prepared.duplicates else ""
        message = f"Read {prepared.documents:,} documents, {prepared.chunks:,} chunks{left_out}."
        self._attempt.journal.event("read", message)
        tell_rejected(self._attempt, prepared.rejected)
        return ready

    def _key(self, files: list[dict[str, Any]]) -> str:
        fingerprint = self._encoder.fingerprint if self._encoder is not None else None
        words = [files, settings_of(self._spec), self._counter.name, fingerprint, _base_digest(self._spec)]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()

    def _cut(self, folder: Path) -> Prepared:
        spec = self._spec
        preparation = Preparation(spec.corpus, spec.chunks, self._counter, self._tell)
        duplicates = Duplicates(spec.corpus.near_duplicates, folder)
        prepared = preparation.write(preparation.documents(), folder / SEGMENT, duplicates)
        if not prepared.chunks:
            first = prepared.rejected[0] if prepared.rejected else None
            why = f"; {first.place} {first.reason}" if first else ""
            raise InvalidInput(f"there is no document that can be used{why}.", where=spec.corpus.path)
        return prepared

    def _tell(self, prepared: Prepared) -> None:
        self._attempt.look_whether_to_stop()
        now = time.monotonic()
        if now - self._told_at >= _TELL_SECONDS:
            self._told_at = now
            message = f"Read {prepared.documents:,} documents, {prepared.chunks:,} chunks so far."
            self._attempt.journal.event("reading", message)

    def _truncated(self, segment: Segment) -> int:
        """Count the chunks that the embedder would cut. Raises Refused if they are more than the spec allows."""
        encoder = self._encoder
        if encoder is None:
            return 0
        texts = segment.texts()
        count = 0
        while some := list(islice(texts, _COUNTED_AT_ONCE)):
            self._attempt.look_whether_to_stop()
            count += len(encoder.truncated(some))
        share, most = count / len(segment), self._spec.chunks.max_truncated
        if share > most:
            raise Refused(
                f"{count} of {len(segment)} chunks ({share:.1%}) are longer than the {encoder.max_tokens} tokens that "
                f"{encoder.name} reads, so that their ends could not be found.",
                hint=f"Lower chunks.tokens below {encoder.max_tokens}, or allow it with chunks.max_truncated.",
            )
        return count

    def _reuse(self, segment: Segment, folder: Path) -> None:
        """Write down which rows are to be embedded, and where the vectors of the others lie in the base."""
        wanted = np.arange(len(segment), dtype=np.int64)
        taken = np.empty((0, 2), dtype=np.int64)
        if self._encoder is not None and self._spec.base is not None:
            taken = known_rows(segment, Path(self._spec.base), embedder_used(self._encoder))
            wanted = np.setdiff1d(wanted, taken[:, 0])
        np.save(folder / WANTED, wanted)
        np.save(folder / TAKEN, taken)


def _base_digest(spec: RagSpec) -> str | None:
    """Return the SHA-256 of the manifest of the base: where its vectors lie is remembered."""
    if spec.base is None:
        return None
    file = Path(spec.base) / FILE
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _read_ready(folder: Path) -> Ready | None:
    found = durable.read_json(folder / "ready.json")
    if found is None:
        return None
    prepared = found["prepared"]
    rejected = [Rejected(**one) for one in prepared["rejected"]]
    return Ready(found["key"], Prepared(**{**prepared, "rejected": rejected}), found["corpus"], found["truncated"])
