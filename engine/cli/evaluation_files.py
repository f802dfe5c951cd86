"""The files that a report reads beside the database: answers of evaluations, and where outputs come from.

What lies on other machines is brought once, and kept beside the database under its SHA-256.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import NotFound, PlumblineError, Unreachable
from engine.job.durable import read_json

if TYPE_CHECKING:
    from engine.cluster.hostfile import Node
    from engine.report.records import Found
    from engine.store.database import Store
    from engine.store.facts import Artifact

_PROVENANCE = "plumbline.json"


def find_files(store: Store, ids: Sequence[str], *, here_only: bool) -> Found:
    """Return what can be had of the files of experiments, and a sentence on what cannot.

    here_only: look at no other machine.
    """
    from engine.report.files import EVALUATION
    from engine.report.records import Found
    from engine.store import facts

    files = _Files(store, here_only)
    evaluations: dict[str, Path] = {}
    provenance: dict[str, dict[str, Any]] = {}
    for identity in ids:
        made = facts.artifacts(store, identity)
        if not made:
            continue
        newest = max(made, key=lambda one: one.created_at)
        if newest.kind == EVALUATION:
            folder = files.evaluation(identity, newest)
            if folder is not None:
                evaluations[identity] = folder
                provenance |= {identity: told} if (told := read_json(folder / _PROVENANCE)) is not None else {}
        elif (document := files.provenance(identity, newest)) is not None:
            provenance[identity] = document
    return Found(evaluations, provenance, files.problems())


class _Files:
    """Looks for files here first, then on the node that wrote them; who cannot be reached is asked once."""

    def __init__(self, store: Store, here_only: bool) -> None:
        self._store, self._here_only = store, here_only
        self._silent: dict[str, str] = {}  # why, by host
        self._missing: dict[str, list[str]] = defaultdict(list)  # experiments without answers, by why

    def problems(self) -> tuple[str, ...]:
        """Return a sentence on each reason why answers are missing."""
        return tuple(
            f"The answers of {', '.join(ids)} are not at hand, so that their figures are those that the database "
            f"heard: {why}"
            for why, ids in self._missing.items()
        )

    def evaluation(self, identity: str, made: Artifact) -> Path | None:
        """Return the folder of an evaluation on this machine; null if it cannot be had."""
        from engine.report.files import kept_folder, results_here

        folder = results_here(self._store, identity, made)
        if folder is not None:
            return folder
        kept = kept_folder(self._store, identity, made)
        try:
            if self._here_only:
                raise NotFound("it lies on another machine.")
            self._bring(identity, made.path, kept, made.sha256)
        except PlumblineError as error:
            self._missing[str(error)].append(identity)
            return None
        return kept

    def provenance(self, identity: str, made: Artifact) -> dict[str, Any] | None:
        """Return where an output comes from, as its folder tells; null if it does not, or cannot be had."""
        here = Path(made.path).expanduser() / _PROVENANCE
        kept = self._store.runs_dir / identity / f"provenance-{(made.sha256 or 'any')[:12]}"
        for file in (here, kept / _PROVENANCE):
            if (document := read_json(file)) is not None:
                return document
        if self._here_only:
            return None
        try:
            self._bring(identity, f"{made.path}/{_PROVENANCE}", kept, None)
        except PlumblineError:
            # The page tells fewer versions then, and is whole otherwise.
            return None
        return read_json(kept / _PROVENANCE)

    def _bring(self, identity: str, path: str, folder: Path, sha256: str | None) -> None:
        from engine.cluster.retrieval import bring, open_source

        node = self._node(identity)
        if node.host in self._silent:
            raise Unreachable(self._silent[node.host])
        try:
            source = open_source(node, path)
            with source.session:
                bring(source, folder, sha256=sha256)
        except Unreachable as error:
            self._silent[node.host] = str(error)
            raise

    def _node(self, identity: str) -> Node:
        from engine.dispatch.homes import homes

        nodes = homes(self._store, identity)
        if not nodes:
            raise NotFound("it has not been started.", where=identity)
        return nodes[0]
