"""The job of a build: read and cut on rank 0, embed on all ranks, assemble on rank 0.

Everything that takes long is kept in `work/` beside the index, so that a build that was cut off goes on:
`work/prepared` (the chunks), `work/blocks` (vectors of finished blocks, and of what is begun), `work/index` (what
becomes `index` by one rename).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ExitCode, InvalidInput, Refused
from engine.job import durable, folders, runtime
from engine.job.board import Board
from engine.job.journal import Journal
from engine.job.provenance import Origin
from engine.job.runtime import Runtime, explained
from engine.job.stopping import StopRequest
from engine.plan.rag import choose_index
from engine.rag.assembling import Parts, assemble, embedder_used, rejected_blind, settings_of, stand_in
from engine.rag.calibration import Calibration
from engine.rag.dealing import Dealing, Piece, Progress, pieces_of
from engine.rag.duplicates import Duplicates
from engine.rag.manifest import FILE, Counts, Manifest, Names
from engine.rag.preparing import Preparation, Prepared
from engine.rag.reading.digests import file_digests
from engine.rag.records import Rejected
from engine.rag.reuse import known_rows
from engine.rag.segments import VECTORS, Segment
from engine.rag.tokens import TokenCounter, WordCounter
from engine.spec.models import RagSpec
from engine.spec.rag import Embedder
from engine.telemetry.records import Level

if TYPE_CHECKING:
    from engine.rag.embedder import Encoder

INDEX, WORK, PREPARED, BLOCKS = "index", "work", "work/prepared", "work/blocks"
_MEET_SECONDS = 600
_TELL_SECONDS = 1.0  # between points of a curve
_TELL_READING_SECONDS = 10.0  # between words on how far reading is
_REJECTED_TOLD = 50  # inputs in the event that tells of those left out; the index lists all
_COUNTED_AT_ONCE = 4096  # chunks whose tokens are counted in one go
_SMALLER = "Lower embedder.batch_size."

# What a finished index is measured by: the index's folder in, metrics by name out.
Measure = Callable[[Path], Mapping[str, float]]


def run(spec: RagSpec, run_dir: Path, attempt: int, measure: Measure | None = None) -> int:
    """Build the index as the spec says, going on where an earlier attempt was cut off. Called by all ranks.

    Returns:
        0 when the index is there, 130 when it stopped before.

    Raises:
        PlumblineError: with one sentence on what went wrong.
    """
    stop = StopRequest()
    stop.listen()
    with Journal(run_dir, attempt, speaks=runtime.is_main_process(), unit="chunk") as journal:
        try:
            journal.mark(0, "meet")
            ranks = folders.learned(run_dir, runtime.start(_MEET_SECONDS, trains=False))
            return _Build(spec, run_dir, ranks, journal, stop).run(measure)
        except _Stopped:
            journal.event("stopped", f"Stopped at chunk {journal.step} by {stop.signal}.", step=journal.step)
            return ExitCode.INTERRUPTED
        except BaseException as error:
            journal.failed(error)
            raise


@dataclass(frozen=True, slots=True)
class _Ready:
    """What `work/prepared` holds besides the segment."""

    key: str
    prepared: Prepared
    corpus: list[dict[str, Any]]
    truncated: int


class _Stopped(BaseException):
    """A signal came before there was anything to keep."""


class _Build:
    def __init__(self, spec: RagSpec, run_dir: Path, ranks: Runtime, journal: Journal, stop: StopRequest) -> None:
        self.spec, self.run_dir, self.ranks, self.journal, self.stop = spec, run_dir, ranks, journal, stop
        self.board = Board("build")
        self.origin = Origin(spec, run_dir, journal.attempt) if ranks.is_main else None
        self.began = self.told_at = time.monotonic()
        self.resumed = self.last_step = 0

    def run(self, measure: Measure | None) -> int:
        encoder = self._encoder()
        self.journal.mark(0, "read")
        if self.ranks.is_main:
            with explained("reading the documents"):
                ready = self._prepared(encoder)
            self.board.post("prepared")
        else:
            self.board.await_note("prepared", self._look_whether_to_stop)
        folders.copy_from_main(self.run_dir / PREPARED, self.ranks)
        segment = Segment(self.run_dir / PREPARED / "segment")
        if encoder is None:
            self._begin(len(segment), len(segment))
        elif not self._embed(segment, encoder):
            step = self.journal.step
            self.journal.event(
                "stopped", f"Stopped at chunk {step} by {self.stop.signal or 'another rank'}.", step=step
            )
            return ExitCode.INTERRUPTED
        if self.ranks.is_main:
            self.journal.mark(len(segment), "assemble")
            with explained("assembling the index"):
                self._finish(ready, segment, encoder, measure)
        return ExitCode.DONE

    # ---- the embedder

    def _encoder(self) -> Encoder | None:
        if self.spec.embedder is None:
            return None
        from engine.rag.embedder import load_encoder

        self.journal.mark(0, "load")
        device = str(self.ranks.device)
        kept = self.run_dir / WORK / "calibration.json"
        with explained("loading the embedder", smaller=_SMALLER):
            encoder = None
            if self.ranks.is_main:
                known = _read_json(kept)
                encoder = load_encoder(
                    self.spec.embedder, device=device, calibration=Calibration.of(known) if known else None
                )
                kept.parent.mkdir(exist_ok=True)
                durable.write_json(kept, encoder.calibration.record())
            decided = self.ranks.from_main(encoder.calibration.record() if encoder is not None else None)
            if encoder is None:
                encoder = load_encoder(self.spec.embedder, device=device, calibration=Calibration.of(decided))
        self._require_same(encoder, self.spec.embedder)
        return encoder

    def _require_same(self, encoder: Encoder, settings: Embedder) -> None:
        fingerprints = self.ranks.from_all(encoder.fingerprint)
        for rank, fingerprint in enumerate(fingerprints):
            if fingerprint != fingerprints[0]:
                raise Refused(
                    f"rank {rank} has another embedder under {settings.path} than rank 0.",
                    hint="Put the same model on all nodes.",
                    where=settings.path,
                )

    # ---- the chunks

    def _prepared(self, encoder: Encoder | None) -> _Ready:
        """Read and cut the corpus, unless an earlier attempt has."""
        spec, folder = self.spec, self.run_dir / PREPARED
        self.told_at = time.monotonic()
        files = [asdict(one) for one in file_digests(spec.corpus)]
        counter: TokenCounter = WordCounter() if encoder is None else encoder.counter()
        words = [files, settings_of(spec), counter.name, encoder.fingerprint if encoder is not None else None]
        words.append(_base_digest(spec))
        key = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
        found = _read_ready(folder)
        if found is not None and found.key == key:
            return found
        for stale in (folder, self.run_dir / BLOCKS) if found is not None else (folder,):
            if stale.exists():
                durable.remove_folder(stale)
        making = folder.with_name(".tmp-prepared")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        preparation = Preparation(spec.corpus, spec.chunks, counter, self._tell_reading)
        duplicates = Duplicates(spec.corpus.near_duplicates, making)
        prepared = preparation.write(preparation.documents(), making / "segment", duplicates)
        if not prepared.chunks:
            first = prepared.rejected[0] if prepared.rejected else None
            why = f"; {first.place} {first.reason}" if first else ""
            raise InvalidInput(f"there is no document that can be used{why}.", where=spec.corpus.path)
        segment = Segment(making / "segment")
        if encoder is not None:  # before hours of embedding
            index = spec.index
            choose_index(
                len(segment), encoder.dimension, factory=index.factory, training_vectors=index.training_vectors
            )
        truncated = self._truncated(segment, encoder)
        ready = _Ready(key, prepared, files, truncated)
        self._reuse(segment, encoder, making)
        durable.write_json(making / "ready.json", asdict(ready))
        durable.sync_all(making)
        durable.replace_folder(making, folder)
        self._tell_prepared(prepared)
        return ready

    def _truncated(self, segment: Segment, encoder: Encoder | None) -> int:
        """Count the chunks that the embedder would cut. Raises Refused if they are more than the spec allows."""
        if encoder is None:
            return 0
        texts = segment.texts()
        count = 0
        while some := list(islice(texts, _COUNTED_AT_ONCE)):
            self._look_whether_to_stop()
            count += len(encoder.truncated(some))
        share, most = count / len(segment), self.spec.chunks.max_truncated
        if share > most:
            raise Refused(
                f"{count} of {len(segment)} chunks ({share:.1%}) are longer than the {encoder.max_tokens} tokens that "
                f"{encoder.name} reads, so that their ends could not be found.",
                hint=f"Lower chunks.tokens below {encoder.max_tokens}, or allow it with chunks.max_truncated.",
            )
        return count

    def _reuse(self, segment: Segment, encoder: Encoder | None, folder: Path) -> None:
        """Write down which rows are to be embedded, and where the vectors of the others lie in the base."""
        wanted = np.arange(len(segment), dtype=np.int64)
        taken = np.empty((0, 2), dtype=np.int64)
        if encoder is not None and self.spec.base is not None:
            taken = known_rows(segment, Path(self.spec.base), embedder_used(encoder))
            wanted = np.setdiff1d(wanted, taken[:, 0])
        np.save(folder / "wanted.npy", wanted)
        np.save(folder / "taken.npy", taken)

    def _look_whether_to_stop(self) -> None:
        if self.stop.requested:
            raise _Stopped

    def _tell_reading(self, prepared: Prepared) -> None:
        self._look_whether_to_stop()
        now = time.monotonic()
        if now - self.told_at >= _TELL_READING_SECONDS:
            self.told_at = now
            self.journal.event("reading", f"Read {prepared.documents:,} documents, {prepared.chunks:,} chunks so far.")

    def _tell_prepared(self, prepared: Prepared) -> None:
        left_out = f"; {prepared.duplicates:,} copies left out" if prepared.duplicates else ""
        self.journal.event("read", f"Read {prepared.documents:,} documents, {prepared.chunks:,} chunks{left_out}.")
        self._tell_rejected(prepared.rejected)

    def _tell_rejected(self, rejected: Sequence[Rejected]) -> None:
        if rejected:
            told = [f"{one.place} {one.reason}" for one in rejected[:_REJECTED_TOLD]]
            message = f"{len(rejected):,} inputs were left out; the first: {told[0]}."
            self.journal.event("rejected", message, level=Level.WARNING, count=len(rejected), inputs=told)

    # ---- the vectors

    def _begin(self, resumed: int, total: int) -> None:
        self.resumed = self.last_step = resumed if resumed < total else 0
        self.journal.started(self.resumed, total)
        self.began = self.told_at = time.monotonic()

    def _embed(self, segment: Segment, encoder: Encoder) -> bool:
        prepared = self.run_dir / PREPARED
        wanted = np.load(prepared / "wanted.npy", allow_pickle=False)
        pieces = pieces_of(segment, wanted, self.spec.index.block_size, encoder)
        with explained("embedding", smaller=_SMALLER):
            dealing = Dealing(segment, pieces, self.run_dir / BLOCKS, encoder, self.ranks)
            there = len(segment) - len(wanted)  # taken over from the base
            self._begin(there + dealing.done, len(segment))

            def look(progress: Progress) -> None:
                self._tell_pace(there + progress.done, progress, len(segment))

            self.journal.mark(self.last_step, "embed")
            if not dealing.embed(lambda: self.stop.requested, look):
                return False
        with explained("bringing the vectors together"):
            vectors = self._vector_file(segment, encoder) if self.ranks.is_main else None

            def take(piece: Piece, found: NDArray[np.float32]) -> None:
                assert vectors is not None
                vectors[piece.rows] = found

            dealing.gather(take)
            if vectors is not None:
                vectors.flush()
        return True

    def _vector_file(self, segment: Segment, encoder: Encoder) -> np.memmap[Any, np.dtype[np.float32]]:
        """Return a new file for all vectors, memory-mapped, with those of the base in it."""
        shape = (len(segment), encoder.dimension)
        file = self.run_dir / WORK / VECTORS
        vectors = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        taken = np.load(self.run_dir / PREPARED / "taken.npy", allow_pickle=False)
        if len(taken):
            from engine.rag.opening import open_index

            assert self.spec.base is not None
            base = open_index(Path(self.spec.base))
            for row, other in taken:
                vectors[row] = base.vector(int(other))
        return vectors

    def _tell_pace(self, done: int, progress: Progress, total: int) -> None:
        now = time.monotonic()
        self.journal.mark(done, "embed")
        due = done == total or now - self.told_at >= _TELL_SECONDS
        if not self.ranks.is_main or done <= self.last_step or not due:
            return
        seconds = max(now - self.began, 1e-9)
        self.told_at, self.last_step = now, done
        self.journal.metrics(
            done,
            {
                "chunks": done,
                "chunks_per_second": progress.embedded / seconds,
                "embedded": progress.embedded,
                "tokens": progress.tokens,
                "tokens_per_second": progress.tokens / seconds,
                "memory_bytes": self.ranks.memory_bytes(),
            },
        )

    # ---- the index

    def _finish(self, ready: _Ready, segment: Segment, encoder: Encoder | None, measure: Measure | None) -> None:
        making = self.run_dir / WORK / INDEX
        shutil.rmtree(making, ignore_errors=True)
        target = making / Names.segment(0)
        making.mkdir(parents=True)
        shutil.copytree(self.run_dir / PREPARED / "segment", target)
        rejected, removed = list(ready.prepared.rejected), np.empty(0, dtype=np.int64)
        if encoder is not None:
            removed = self._move_vectors(target / VECTORS)
            blind = rejected_blind(segment, removed)
            self._tell_rejected(blind)
            rejected += blind
        prepared = ready.prepared
        counts = Counts(
            documents=prepared.documents,
            chunks=prepared.chunks,
            removed=len(removed),
            rejected=len(rejected),
            duplicates=prepared.duplicates,
            truncated=ready.truncated,
        )
        manifest = assemble(
            making,
            Parts(
                settings=settings_of(self.spec),
                corpus=ready.corpus,
                removed=removed,
                rejected=rejected,
                counts=counts,
                embedder=embedder_used(encoder) if encoder is not None else None,
                index=self.spec.index,
                seed=self.spec.seed,
                threads=self.spec.placement.threads,
            ),
        )
        assert self.origin is not None
        self.origin.of("index", len(segment), index={"files": dict(manifest.files)}).write(making)
        durable.replace_folder(making, self.run_dir / INDEX)
        self._tell_finished(manifest, measure)
        durable.remove_folder(self.run_dir / WORK)

    def _move_vectors(self, target: Path) -> NDArray[np.int64]:
        """Put the vectors where the index wants them; rows without a direction get a stand-in and are returned."""
        file = self.run_dir / WORK / VECTORS
        vectors = np.lib.format.open_memmap(file, mode="r+")
        removed = np.flatnonzero(~np.isfinite(vectors).all(axis=1)).astype(np.int64)
        vectors[removed] = stand_in(vectors.shape[1])
        vectors.flush()
        del vectors
        durable.sync(file)
        file.rename(target)
        return removed

    def _tell_finished(self, manifest: Manifest, measure: Measure | None) -> None:
        step, folder = manifest.counts.chunks, self.run_dir / INDEX
        metrics: dict[str, float] = {"documents": manifest.counts.documents}
        metrics["bytes"] = sum(file.stat().st_size for file in durable.files_below(folder))
        if manifest.vectors is not None:
            self.journal.event("chosen", f"{manifest.vectors.factory}: {manifest.vectors.reason}", step=step)
            if manifest.vectors.recall_at_10 is not None:
                metrics["index_recall@10"] = manifest.vectors.recall_at_10
        if measure is not None:
            metrics.update(measure(folder))
        self.journal.metrics(step, metrics)
        digest = durable.folder_hash(folder)
        self.journal.event("artifact", f"Made the index {INDEX}.", step=step, kind="index", path=INDEX, sha256=digest)
        self.journal.event(
            "finished", f"Finished: {step:,} chunks of {manifest.counts.documents:,} documents.", step=step
        )


def _base_digest(spec: RagSpec) -> str | None:
    """Return the SHA-256 of the manifest of the base: where its vectors lie is remembered."""
    if spec.base is None:
        return None
    file = Path(spec.base) / FILE
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def _read_json(file: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _read_ready(folder: Path) -> _Ready | None:
    found = _read_json(folder / "ready.json")
    if found is None:
        return None
    prepared = found["prepared"]
    rejected = [Rejected(**one) for one in prepared["rejected"]]
    return _Ready(found["key"], Prepared(**{**prepared, "rejected": rejected}), found["corpus"], found["truncated"])
