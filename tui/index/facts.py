"""What is known of the index builds: their experiments, and what the manifests of their folders say."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import PlumblineError

if TYPE_CHECKING:
    from engine.rag.manifest import Manifest
    from engine.rag.records import Rejected
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from engine.store.index_measures import IndexMeasure

_MOST_REJECTS = 200  # that are shown


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """One build. Of an index that is not on this machine, only what the database knows."""

    experiment: Experiment
    path: str | None  # of the index, on the machine that made it; null: none is made yet
    manifest: Manifest | None = None
    problem: str | None = None  # why there is no manifest to read, though an index was made
    rejects: Sequence[Rejected] = ()  # what was left out, the first of it
    sources: Sequence[tuple[str, str]] = ()  # key and path of what its spec reads
    manifest_sha256: str | None = None
    measures: Sequence[IndexMeasure] = ()  # since it was built: the newest of each question set and way of searching
    seconds_left: float | None = None  # while it is being built and that can be told

    @property
    def size(self) -> int | None:
        """Bytes of its files."""
        if self.manifest is not None:
            return sum(int(file["bytes"]) for file in self.manifest.files.values())
        told = self.experiment.last.get("bytes")
        return None if told is None else int(told)

    @property
    def kind(self) -> str:
        """How it is searched: the factory string of its vectors' index, BM25, or both."""
        if self.manifest is None:
            return ""
        vectors = self.manifest.vectors
        ways = [vectors.factory] if vectors is not None else []
        return " + ".join([*ways, "BM25"] if self.manifest.lexical else ways)

    @property
    def speed(self) -> float | None:
        """Chunks a second, while it is being built and that can be told."""
        speed = self.experiment.last.get("chunks_per_second", 0.0)
        return speed if self.experiment.state.value == "running" and speed > 0 else None


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of the folder of an index."""

    manifest: Manifest | None = None
    rejects: Sequence[Rejected] = ()
    problem: str | None = None  # why there is no manifest
    sha256: str | None = None  # of the manifest


class IndexReader:
    """Reads the builds again and again; a manifest only when it was replaced. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[int, _Read]] = {}  # by path; when its manifest was written, nanoseconds
        self._sources: dict[str, Sequence[tuple[str, str]]] = {}  # by the hash of the spec

    def read(self) -> list[IndexFacts]:
        """Return what is known now, the newest build first."""
        from engine.rag.builds import list_builds
        from engine.store import index_measures

        measured = index_measures.by_experiment(self._store)
        found = []
        for build in list_builds(self._store):
            sources = self._sources_of(build.experiment)
            left = self._seconds_left(build.experiment)
            if build.path is None:
                found.append(IndexFacts(build.experiment, None, sources=sources, seconds_left=left))
                continue
            read = self._look(build.path, build.experiment.id)
            measures = index_measures.newest(measured.get(build.experiment.id, ()))
            found.append(
                IndexFacts(
                    build.experiment,
                    build.path,
                    read.manifest,
                    read.problem,
                    read.rejects,
                    sources,
                    read.sha256,
                    measures,
                    left,
                )
            )
        return found

    def _seconds_left(self, experiment: Experiment) -> float | None:
        from engine.store import attempts
        from engine.store.remaining import seconds_left

        if experiment.state.ended:
            return None
        newest = next(reversed(attempts.list_attempts(self._store, experiment.id)), None)
        return seconds_left(experiment, newest, time.time())

    def _look(self, path: str, identity: str) -> _Read:
        from engine.rag.manifest import FILE

        folder = Path(path).expanduser()
        try:
            written = (folder / FILE).stat().st_mtime_ns
        except OSError:
            hint = f"Bring it here: engine export {identity} --to FOLDER --what index."
            return _Read(problem=f"{path} is not on this machine. {hint}")
        known = self._known.get(path)
        if known is None or known[0] != written:
            known = self._known[path] = (written, _read(folder))
        return known[1]

    def _sources_of(self, experiment: Experiment) -> Sequence[tuple[str, str]]:
        if experiment.spec_hash not in self._sources:
            from engine.spec.models import RagSpec
            from engine.store import experiments

            spec = experiments.get_spec(self._store, experiment.id)
            told: list[tuple[str, str | None]] = []
            if isinstance(spec, RagSpec):
                embedder = None if spec.embedder is None else spec.embedder.path
                told = [("corpus", spec.corpus.path), ("embedder", embedder), ("questions", spec.questions)]
            self._sources[experiment.spec_hash] = [(key, path) for key, path in told if path is not None]
        return self._sources[experiment.spec_hash]


def _read(folder: Path) -> _Read:
    from engine.rag.chunks.rejects import read_rejects
    from engine.rag.manifest import manifest_hash, read_manifest

    try:
        manifest = read_manifest(folder)
        rejects = read_rejects(folder / manifest.names().rejects)[:_MOST_REJECTS]
        return _Read(manifest, rejects, sha256=manifest_hash(folder))
    except PlumblineError as error:
        return _Read(problem=str(error))
