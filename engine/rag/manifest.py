"""The manifest of an index: what it holds and what made it, written last, so that an index is there or not.

It has no time and no path of a machine in it: the same documents, embedder and settings leave the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engine.errors import InvalidInput, NotFound
from engine.job import durable
from engine.rag import lineage

FILE = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class EmbedderUsed:
    """What made the vectors."""

    name: str
    fingerprint: str  # of weights, tokenizer, prompts and length
    dimension: int
    max_tokens: int
    precision: str
    query_prompt: str
    passage_prompt: str


@dataclass(frozen=True, slots=True)
class VectorsUsed:
    """How vectors are searched."""

    factory: str
    reason: str  # why this one, one sentence
    effort: int | None  # lists or candidates that a search looks at; None: it looks at all
    made_of: int  # vectors that it was chosen for and trained on; more may have come since
    recall_at_10: float | None  # share of the ten nearest that it finds, against exact search; None: not measured


@dataclass(frozen=True, slots=True)
class Counts:
    """How many of what."""

    documents: int  # that have rows which count
    chunks: int  # rows, removed ones included
    removed: int  # rows that no longer count
    rejected: int  # documents and rows that could not be used, of the build and all updates
    duplicates: int  # chunks left out as copies, of the build and all updates
    truncated: int  # chunks longer than the embedder reads, of the build and all updates


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `manifest.json` holds."""

    settings: Mapping[str, Any]  # the keys of the spec that say how documents become chunks and vectors
    corpus: Sequence[Mapping[str, Any]]  # path below the corpus, sha256 and bytes of each file that was read
    segments: Sequence[int]  # numbers of those that count, in the order of their rows
    generation: int  # of the files that an update replaces
    counts: Counts
    embedder: EmbedderUsed | None
    vectors: VectorsUsed | None
    lexical: bool
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # sha256 and bytes by path

    def names(self) -> Names:
        """Return where the files of this generation are."""
        return Names(self.generation)

    def write(self, folder: Path, known: Mapping[str, Mapping[str, Any]]) -> Manifest:
        """Commit: describe all files of the folder that belong to it and put the manifest in place, atomically.

        Returns this manifest with these files.

        known: `files` of the manifest that this one follows. What it describes was not written anew and is not read
        again, so that a file damaged since then stays one that differs.
        """
        temporary = folder / f".tmp-{FILE}"
        files = described(folder, self, known)
        document = {"format": FORMAT, **asdict(self), "files": files}
        durable.write_json(temporary, {**document, "sha256": _digest(document)})
        lineage.write_next(folder, self.generation, files)
        durable.sync_folders(folder)
        temporary.replace(folder / FILE)
        durable.sync(folder)
        lineage.settle(folder, self.generation)
        return replace(self, files=files)


@dataclass(frozen=True, slots=True)
class Names:
    """The files of an index."""

    generation: int

    @property
    def vectors(self) -> str:
        """The faiss index."""
        return f"vectors-{self.generation:03d}.faiss"

    @property
    def lexical(self) -> str:
        """The folder of BM25."""
        return f"lexical-{self.generation:03d}"

    @property
    def removed(self) -> str:
        """The rows that no longer count, int64, ascending."""
        return f"removed-{self.generation:03d}.npy"

    @property
    def rejects(self) -> str:
        """What could not be used, and why."""
        return f"rejects-{self.generation:03d}.jsonl"

    @staticmethod
    def segment(number: int) -> str:
        """A segment's folder."""
        return f"segment-{number:03d}"


def belonging(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the files of an index by its manifest, in a stable order; others are left over from a cut-off update."""
    names = manifest.names()
    tops = [names.vectors, names.lexical, names.removed, names.rejects]
    tops += [names.segment(number) for number in manifest.segments]
    found: list[Path] = []
    for top in tops:
        path = folder / top
        found += durable.files_below(path) if path.is_dir() else [path] if path.exists() else []
    return sorted(found)


def described(folder: Path, manifest: Manifest, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Return SHA-256 and size of each file of an index, by its path, after syncing those that are not `known`."""
    listed: dict[str, Mapping[str, Any]] = {}
    for file in belonging(folder, manifest):
        name = file.relative_to(folder).as_posix()
        if name in known:
            listed[name] = known[name]
            continue
        durable.sync(file)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        listed[name] = {"sha256": digest, "bytes": file.stat().st_size}
    return listed


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def manifest_hash(folder: Path) -> str:
    """Return the SHA-256 of the manifest of an index, which each update changes. Raises OSError if it has none."""
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of an index.

    Raises:
        NotFound: if the folder is no index.
        InvalidInput: if its manifest is damaged, or of another format.
    """
    file = folder / FILE
    if not file.is_file():
        raise NotFound("is no index: it has no manifest.json.", hint="engine rag build makes one.", where=str(folder))
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document.pop("format") != FORMAT:
            raise InvalidInput("was written by another version of Plumbline.", hint="Build it again.", where=str(file))
        if document.pop("sha256") != _digest({"format": FORMAT, **document}):
            raise InvalidInput("is damaged: it is not what was written.", hint="Build it again.", where=str(file))
        embedder, vectors = document["embedder"], document["vectors"]
        document["counts"] = Counts(**document["counts"])
        document["embedder"] = EmbedderUsed(**embedder) if embedder is not None else None
        document["vectors"] = VectorsUsed(**vectors) if vectors is not None else None
        return Manifest(**{each.name: document[each.name] for each in fields(Manifest)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(f"is damaged: {type(error).__name__}: {error}.", where=str(file)) from error


def verify(folder: Path) -> list[str]:
    """Hash all files of an index again; return a sentence on each that is not as it was written.

    Also where its provenance, if it has one, lists others.

    Raises:
        NotFound, InvalidInput: as `read_manifest`.
    """
    manifest = read_manifest(folder)
    problems = []
    for name, written in manifest.files.items():
        file = folder / name
        if not file.is_file():
            problems.append(f"{name} is missing.")
            continue
        size = file.stat().st_size
        if size != written["bytes"]:
            problems.append(f"{name} has {size} bytes instead of {written['bytes']}.")
            continue
        with file.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != written["sha256"]:
                problems.append(f"{name} was changed: its SHA-256 is another one.")
    if (untrue := lineage.problem(folder, manifest.files)) is not None:
        problems.append(untrue)
    return problems
