"""Which index a command means: a folder, or what an experiment made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.settings import Settings
from engine.errors import NotFound, Refused

if TYPE_CHECKING:
    from engine.store.facts import Artifact

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """An index on this machine."""

    folder: Path
    name: str  # for people
    experiment: str | None = None  # that made it, where it was named by that


def find_index(settings: Settings, text: str) -> FoundIndex:
    """Return the index that a text means: a folder with one, a run directory, or an experiment.

    Raises:
        NotFound: if there is none.
        Refused: if it is on another machine.
    """
    for folder in (Path(text).expanduser(), Path(text).expanduser() / "index"):
        if (folder / _MANIFEST).is_file():
            return FoundIndex(folder.resolve(), text)
    if not settings.database.exists():
        raise NotFound(
            "is no index, and there is no database of experiments to look it up in.",
            hint="engine rag build makes an index; --db PATH names a database.",
            where=text,
        )
    identity, made = _artifact(settings, text)
    folder = Path(made.path).expanduser()
    if not (folder / _MANIFEST).is_file():
        raise Refused(
            f"its index {made.path} is not on this machine.",
            hint=f"Bring it here: engine export {text} --to FOLDER --what index.",
            where=text,
        )
    return FoundIndex(folder, text, identity)


def _artifact(settings: Settings, text: str) -> tuple[str, Artifact]:
    from engine.rag.builds import made_by
    from engine.store import experiments

    store = settings.open_store()
    try:
        identity = experiments.resolve(store, text)
    except NotFound as error:
        raise NotFound(f"there is no index and no experiment {text!r}.", hint=error.hint) from None
    made = made_by(store, identity)
    if made is None:
        raise NotFound(f"{identity} has made no index.")
    return identity, made
