"""What a new experiment takes over from an earlier one: its spec, to be changed, and where it ran."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.spec.canonical import to_yaml
from engine.spec.loading import parse_spec
from engine.spec.resolve import input_paths, with_absolute_paths
from engine.store import experiments
from engine.store.clones import spec_to_edit

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.spec.models import AnySpec
    from engine.store.database import Store


@dataclass(frozen=True, slots=True)
class Clone:
    """An experiment that is launched once more, with changes."""

    id: str
    text: str  # its spec, as YAML
    paths: frozenset[str]  # that stand in it; they may be of nodes
    hosts: Hostfile | None  # null: it ran on this machine alone

    def spec(self, overrides: Sequence[str] = ()) -> AnySpec:
        """Return its spec with KEY=VALUE settings over it. New relative paths are relative to the working folder.

        Raises:
            InvalidInput: if a setting does not fit.
        """
        return with_absolute_paths(parse_spec(self.text, self.id, overrides), Path.cwd(), but=self.paths)


def clone_of(store: Store, identity: str) -> Clone:
    """Return an experiment to be launched once more. Raises NotFound, and InvalidInput if its hostfile is broken."""
    from engine.cluster.hostfile import parse_hostfile

    spec = spec_to_edit(store, identity)
    text = experiments.hostfile_text(store, identity)
    file = experiments.get(store, identity).hostfile
    hosts = None if text is None else replace(parse_hostfile(text, identity), path=Path(file) if file else None)
    return Clone(identity, to_yaml(spec), frozenset(map(str, input_paths(spec))), hosts)
