"""The models of a database that answer: what experiments have made, by the kind of their artifact."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.store import experiments, facts

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from engine.store.facts import Artifact

ANSWERING = ("policy", "model", "averaged_policy")  # kinds of artifacts that answer, the first that there is


@dataclass(frozen=True, slots=True)
class MadeModel:
    """A model that an experiment has made."""

    experiment: Experiment
    artifact: Artifact

    @property
    def folder(self) -> Path:
        """Where it is, on the machine that made it."""
        return Path(self.artifact.path).expanduser()

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        return (self.folder / "config.json").is_file()


def made_by(store: Store, experiment: Experiment) -> MadeModel | None:
    """Return the model of an experiment that answers; null if it has made none."""
    made = {artifact.kind: artifact for artifact in facts.artifacts(store, experiment.id)}
    kind = next((kind for kind in ANSWERING if kind in made), None)
    return None if kind is None else MadeModel(experiment, made[kind])


def list_models(store: Store) -> list[MadeModel]:
    """Return the models that answer, those of the newest experiments first."""
    found = (made_by(store, experiment) for experiment in experiments.list_experiments(store))
    return [model for model in found if model is not None]
