"""The index builds of a database: experiments of kind rag, and the folders that they have made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from engine.store.facts import Artifact


@dataclass(frozen=True, slots=True)
class Build:
    """One experiment, and its newest index."""

    experiment: Experiment
    path: str | None  # of the index, on the machine that made it; null: it has made none yet


def list_builds(store: Store) -> list[Build]:
    """Return the index builds that are not archived, the newest first."""
    from engine.store import experiments

    found = []
    for experiment in experiments.list_experiments(store):
        if experiment.kind == "rag":
            made = made_by(store, experiment.id)
            found.append(Build(experiment, None if made is None else made.path))
    return found


def made_by(store: Store, identity: str) -> Artifact | None:
    """Return the newest index that an experiment has made; null if there is none."""
    from engine.store import facts

    made = [artifact for artifact in facts.artifacts(store, identity) if artifact.kind == "index"]
    return max(made, key=lambda artifact: artifact.created_at, default=None)
