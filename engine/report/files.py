"""The folders of evaluations that are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import PlumblineError
from engine.evaluate.results import read_answers
from engine.job.durable import folder_hash
from engine.store import facts
from engine.store.text import storable_document

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.facts import Artifact

EVALUATION = "evaluation"


def evaluation_here(store: Store, identity: str) -> Path | None:
    """Return the folder of the results that an evaluation wrote last; null if it wrote none, or they are not here."""
    made = facts.artifacts(store, identity)
    newest = max(made, key=lambda one: one.created_at, default=None)
    return results_here(store, identity, newest) if newest is not None and newest.kind == EVALUATION else None


def answers_here(store: Store, identity: str) -> list[dict[str, Any]]:
    """Return the rows of `answers.jsonl` of an evaluation; none where they are not here, or damaged."""
    folder = evaluation_here(store, identity)
    if folder is None:
        return []
    try:
        return [storable_document(row) for row in read_answers(folder)]
    except (PlumblineError, OSError, ValueError):
        return []


def results_here(store: Store, identity: str, made: Artifact) -> Path | None:
    """Return where these results are: where they were written, or beside the database, where they were brought."""
    came = store.runs_dir / identity / EVALUATION  # with the run's facts
    for folder in (Path(made.path).expanduser(), came, kept_folder(store, identity, made)):
        if folder.is_dir() and (made.sha256 is None or _hash(folder) == made.sha256):
            return folder
    return None


def kept_folder(store: Store, identity: str, made: Artifact) -> Path:
    """Return where results from another machine are kept."""
    return store.runs_dir / identity / f"{EVALUATION}-{(made.sha256 or 'any')[:12]}"


def _hash(folder: Path) -> str | None:
    try:
        return folder_hash(folder)
    except OSError:
        return None
