"""A page of experiments as an HTML file, written by `engine compare` in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.errors import RunFailed


async def write_page(database: Path, ids: Sequence[str], folder: Path) -> Path:
    """Write a page of one experiment, or of several side by side, into a new file, and return its path.

    Args:
        database: where they are.
        ids: the baseline first.
        folder: where the file goes, under a name that is free.

    Raises:
        RunFailed: with the reason if it cannot be made, or written.
    """
    from engine.report.written import free_path
    from tui.engine_process import EngineFailed, document

    path = free_path(folder, "-".join(ids), "html")
    try:
        await document(["--db", str(database), "compare", *ids, "-o", str(path), "--json"])
    except EngineFailed as error:
        raise RunFailed(str(error)) from error
    return path
