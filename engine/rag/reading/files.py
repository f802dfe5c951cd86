"""The files of a corpus, in a stable order, each with the kind that says how it is read."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.errors import NotFound
from engine.rag.reading.cleaning import escaped, stands_on_a_line
from engine.rag.records import Rejected

if TYPE_CHECKING:
    from engine.spec.rag import Corpus

Kind = Literal["text", "markdown", "html", "pdf", "jsonl", "json", "table"]

KINDS: dict[str, Kind] = {
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".pdf": "pdf",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".json": "json",
    ".csv": "table",
    ".tsv": "table",
    ".parquet": "table",
    ".arrow": "table",
}

_SNIFFED = 4096


@dataclass(frozen=True, slots=True)
class CorpusFile:
    """A file to read."""

    path: str
    name: str  # relative to the corpus, with "/": the same on every machine
    kind: Kind


def corpus_files(corpus: Corpus) -> list[Path]:
    """Return the files of a corpus that are read, sorted by their paths.

    Raises:
        NotFound: if there is no such file or folder.
    """
    return [Path(file.path) for file in walk(corpus.path) if isinstance(file, CorpusFile)]


def walk(root: str) -> Iterator[CorpusFile | Rejected]:
    """Yield the files of a corpus, and what is none to read, folder by folder in the order of their names.

    Links are followed; a folder that was met already is not entered again.

    Raises:
        NotFound: if there is no such file or folder.
    """
    path = Path(root)
    if not path.exists():
        raise NotFound("there is no such file or folder of documents.", where=root)
    if not path.is_dir():
        yield _file(path, escaped(path.name))
        return
    seen = {_folder(path)}
    open_folders = [_entries(path, "")]
    while open_folders:  # not by recursion: folders may be nested deeper than Python's stack
        entry = next(open_folders[-1], None)
        if entry is None:
            open_folders.pop()
        elif isinstance(entry, Rejected):
            yield entry
        elif (folder := _folder(entry.path)) is None:
            yield _file(entry.path, entry.name)
        elif entry.path.name.startswith("."):
            yield Rejected(entry.name, "is a hidden folder")
        elif folder in seen:
            yield Rejected(entry.name, "is a link to a folder that was met already")
        else:
            seen.add(folder)
            open_folders.append(_entries(entry.path, f"{entry.name}/"))


@dataclass(frozen=True, slots=True)
class _Entry:
    path: Path
    name: str


def _folder(path: Path) -> tuple[int, int] | None:
    """Return what tells a folder from every other one; None if there is no folder at the path."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None


def _entries(folder: Path, prefix: str) -> Iterator[_Entry | Rejected]:
    """Yield what lies in a folder; of one that the `datasets` library wrote, what its own list names."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - only names, of which there may be millions
    except OSError as error:
        yield Rejected(prefix.rstrip("/") or ".", f"cannot be listed: {error.strerror}")
        return
    if "state.json" in names and "dataset_info.json" in names:
        listed = _listed(folder)
        if listed is None:
            yield Rejected(f"{prefix}state.json", "is damaged: it does not list the dataset's Arrow files")
        names = listed or []
    elif "dataset_dict.json" in names:
        names.remove("dataset_dict.json")
    for name in names:
        if stands_on_a_line(name):
            yield _Entry(folder / name, prefix + name)
        else:
            yield Rejected(prefix + escaped(name), "has a name with control characters, or not in UTF-8")


def _listed(folder: Path) -> list[str] | None:
    """Return the names of the files that hold a dataset's rows, in their order; None if the list is damaged."""
    try:
        entries = json.loads((folder / "state.json").read_bytes())["_data_files"]
        names = [entry["filename"] for entry in entries]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    inside = all(isinstance(name, str) and name.endswith(".arrow") and Path(name).name == name for name in names)
    return names if inside else None


def _file(path: Path, name: str) -> CorpusFile | Rejected:
    try:
        kind, reason = _kind(path)
    except OSError as error:
        return Rejected(name, f"cannot be read: {error.strerror}")
    return CorpusFile(str(path), name, kind) if kind is not None else Rejected(name, reason)


def _kind(path: Path) -> tuple[Kind | None, str]:
    """Return the kind of a file, or why it is none to read. Raises OSError."""
    if not path.exists():
        return None, "is a link to nothing" if path.is_symlink() else "is not there"
    if not path.is_file():
        return None, "is not a plain file"
    if path.name.startswith("."):
        return None, "is hidden"
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])
    if suffix in KINDS:
        return KINDS[suffix], ""
    if suffix:
        return None, f"is of a kind that is not read ({suffix})"
    with path.open("rb") as content:
        return (None, "is binary") if b"\0" in content.read(_SNIFFED) else ("text", "")
