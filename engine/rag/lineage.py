"""`plumbline.json` of an index, kept true by updates: its `index` holds the hashes of the files that are there.

The rest of it is of the build. It is replaced just behind the manifest: `.new-plumbline.json` lies ready before, so
that whoever is cut off between the two leaves one that fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.job import durable
from engine.job.provenance import FILE

_NEW = f".new-{FILE}"
Files = Mapping[str, Mapping[str, Any]]


def write_next(folder: Path, generation: int, files: Files) -> None:
    """Lay ready what tells of the next generation; nothing, where the index does not tell of where it comes from."""
    document = durable.read_json(folder / FILE)
    if document is not None:
        durable.write_json(folder / _NEW, document | {"index": index_facts(generation, files)})


def index_facts(generation: int, files: Files) -> dict[str, Any]:
    """Return what is told of an index itself."""
    return {"generation": generation, "files": {name: dict(written) for name, written in files.items()}}


def settle(folder: Path, generation: int) -> None:
    """Put what lies ready in its place, if it is of this generation, the one that was committed."""
    ready = durable.read_json(folder / _NEW)
    if ready is not None and ready["index"]["generation"] == generation:
        (folder / _NEW).replace(folder / FILE)
        durable.sync(folder)


def problem(folder: Path, files: Files) -> str | None:
    """Return a sentence if it lists other files, or other hashes, than the manifest; None if it tells of none."""
    if (listed := _listed(folder / FILE)) is None or dict(files) in (listed, _listed(folder / _NEW)):
        return None
    return f"{FILE} tells of other files than the manifest."


def _listed(file: Path) -> object:
    document = durable.read_json(file) or {}
    told = document.get("index")
    return told.get("files") if isinstance(told, dict) else None
