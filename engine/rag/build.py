"""The job of a build: read and cut on rank 0, embed on all ranks, assemble on rank 0.

Everything that takes long is kept in `work/` beside the index, so that a build that was cut off goes on:
`work/prepared` (the chunks), `work/blocks` (vectors of finished blocks, and of what is begun), `work/index` (what
becomes `index` by one rename).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import Refused
from engine.job import durable, folders
from engine.job.attempt import Attempt, Stopped, run_attempt
from engine.job.board import Board
from engine.job.provenance import Origin
from engine.job.runtime import explained
from engine.rag.assembling import Parts, assemble, embedder_used, rejected_blind, settings_of, stand_in
from engine.rag.cutting import BLOCKS, PREPARED, SEGMENT, TAKEN, WANTED, Cutting, Ready, tell_rejected
from engine.rag.embedding.calibration import Calibration
from engine.rag.embedding.dealing import Dealing, Progress
from engine.rag.embedding.pieces import Piece, pieces_of
from engine.rag.lineage import index_facts
from engine.rag.manifest import Counts, Manifest, Names
from engine.rag.segments import VECTORS, Segment
from engine.spec.models import RagSpec
from engine.spec.rag import Embedder

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

INDEX, WORK = "index", "work"
_TELL_SECONDS = 1.0  # between points of a curve
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
    return run_attempt(run_dir, attempt, unit="chunk", body=lambda here: _Build(spec, here).run(measure))


class _Build:
    def __init__(self, spec: RagSpec, attempt: Attempt) -> None:
        self.spec, self.attempt, self.run_dir = spec, attempt, attempt.run_dir
        self.ranks, self.journal = attempt.ranks, attempt.journal
        self.board = Board("build")
        self.origin = Origin(spec, self.run_dir, self.journal.attempt) if self.ranks.is_main else None
        self.began = self.told_at = time.monotonic()
        self.resumed = self.last_step = 0

    def run(self, measure: Measure | None) -> None:
        encoder = self._encoder()
        self.journal.mark(0, "read")
        if self.ranks.is_main:
            with explained("reading the documents"):
                ready = Cutting(self.spec, self.attempt, encoder).ready()
            self.board.post("prepared")
        else:
            self.board.await_note("prepared", self.attempt.look_whether_to_stop)
        folders.copy_from_main(self.run_dir / PREPARED, self.ranks)
        segment = Segment(self.run_dir / PREPARED / SEGMENT)
        if encoder is None:
            self._begin(len(segment), len(segment))
        elif not self._embed(segment, encoder):
            raise Stopped
        if self.ranks.is_main:
            self.journal.mark(len(segment), "assemble")
            with explained("assembling the index"):
                self._finish(ready, segment, encoder, measure)

    # ---- the embedder

    def _encoder(self) -> Encoder | None:
        if self.spec.embedder is None:
            return None
        from engine.rag.embedding.embedder import load_encoder

        self.journal.mark(0, "load")
        device = str(self.ranks.device)
        kept = self.run_dir / WORK / "calibration.json"
        with explained("loading the embedder", smaller=_SMALLER):
            encoder = None
            if self.ranks.is_main:
                known = durable.read_json(kept)
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

    # ---- the vectors

    def _begin(self, resumed: int, total: int) -> None:
        self.resumed = self.last_step = resumed if resumed < total else 0
        self.journal.started(self.resumed, total)
        self.began = self.told_at = time.monotonic()

    def _embed(self, segment: Segment, encoder: Encoder) -> bool:
        prepared = self.run_dir / PREPARED
        wanted = np.load(prepared / WANTED, allow_pickle=False)
        pieces = pieces_of(segment, wanted, self.spec.index.block_size, encoder)
        with explained("embedding", smaller=_SMALLER):
            dealing = Dealing(segment, pieces, self.run_dir / BLOCKS, encoder, self.ranks)
            there = len(segment) - len(wanted)  # taken over from the base
            self._begin(there + dealing.done, len(segment))

            def look(progress: Progress) -> None:
                self._tell_pace(there + progress.done, progress, len(segment))

            self.journal.mark(self.last_step, "embed")
            if not dealing.embed(lambda: self.attempt.stop.requested, look):
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
        taken = np.load(self.run_dir / PREPARED / TAKEN, allow_pickle=False)
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

    def _finish(self, ready: Ready, segment: Segment, encoder: Encoder | None, measure: Measure | None) -> None:
        making = self.run_dir / WORK / INDEX
        shutil.rmtree(making, ignore_errors=True)
        target = making / Names.segment(0)
        making.mkdir(parents=True)
        shutil.copytree(self.run_dir / PREPARED / SEGMENT, target)
        rejected, removed = list(ready.prepared.rejected), np.empty(0, dtype=np.int64)
        if encoder is not None:
            removed = self._move_vectors(target / VECTORS)
            blind = rejected_blind(segment, removed)
            tell_rejected(self.attempt, blind)
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
        self.origin.of("index", len(segment), index=index_facts(1, manifest.files)).write(making)
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
