"""Files and folders of this machine as objects: what they hold, and by which name they travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.cluster.node.contents import Content, Hashes, Unfit, describe, entries, stamp
from engine.errors import Refused

HASHES = "hashes.json"  # in the folder of the objects; what is known of files that were hashed before


@dataclass(frozen=True, slots=True)
class Look:
    """What a path shows without being read: a mark that is the same wherever the same files are seen, and bytes."""

    stamp: str
    size: int


def look(path: str) -> Look | None:
    """Return what lies at a path of this machine, or None. Raises Refused if it cannot be taken."""
    with_home = Path(path).expanduser()
    try:
        found = entries(with_home)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, Unfit) as error:
        raise _refused(error) from error
    return Look(stamp(found), sum(entry.size for entry in found))


def describe_local(path: str, hashes: Path, on_bytes: Callable[[int], None] = lambda count: None) -> Content:
    """Return what a file or folder of this machine holds.

    Args:
        path: `~/` is the home folder.
        hashes: the file in which the hashes of files are remembered.
        on_bytes: is told how many bytes were done with.

    Raises:
        Refused: if it cannot be read, holds something that is no file, or changes meanwhile.
    """
    try:
        return describe(Path(path).expanduser(), Hashes(hashes), on_bytes)
    except (OSError, Unfit) as error:
        raise _refused(error) from error


def name_of(path: str) -> str:
    """Return the name by which the object at a path travels: the last part, so that its suffix stays."""
    return Path(path).name.lstrip(".") or "object"


def _refused(error: OSError | Unfit) -> Refused:
    if isinstance(error, Unfit):
        return Refused(f"{error}.")
    return Refused(f"{error.filename} cannot be read: {error.strerror}.")
