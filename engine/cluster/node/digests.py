"""What the inputs of a run hold on this machine, to be compared with the other nodes'."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.cluster.node.contents import Hashes, Unfit, describe
from engine.cluster.node.launching import Tell, expand
from engine.cluster.node.probe import OWN_FOLDER

TELL_BYTES = 1 << 28  # between two signs that a large file is read


def hashes(tell: Tell, *, workdir: str | None, paths: Sequence[str]) -> Mapping[str, Any]:
    """Return `hashes`, the SHA-256 by path; null is what is not there. `problems` says what of the rest cannot be read.

    Args:
        tell: hears what is read.
        workdir: where hashes are remembered, by path, size and time; None: in the home folder.
        paths: files, or folders, whose SHA-256 is that of `engine.cluster.node.contents.Content`.
    """
    found: dict[str, str | None] = {}
    problems: dict[str, str] = {}
    folder = expand(workdir or "~/.cache/plumbline") / OWN_FOLDER
    known = Hashes(folder / f"hashes-{socket.gethostname()}.json")  # other machines may share the folder
    for name in paths:
        path = expand(name)
        try:
            found[name] = describe(path, known, _teller(tell, path)).sha256 if path.exists() else None
        except Unfit as error:
            problems[name] = f"{error}"
        except OSError as error:
            problems[name] = f"{error.filename or path}: {error.strerror}"
    return {"hashes": found, "problems": problems}


def _teller(tell: Tell, path: Path) -> Any:
    """Return who counts the bytes that were read, and says so now and then."""
    done = told = 0

    def count(read: int) -> None:
        nonlocal done, told
        done += read
        if done - told >= TELL_BYTES:
            told = done
            tell({"reading": str(path), "done": done})

    return count
