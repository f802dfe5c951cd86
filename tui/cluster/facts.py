"""What the Cluster screen shows: the hostfiles to choose from, and how the slots of the chosen nodes stand."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import PlumblineError
from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.cluster.hostfile import Node
    from engine.dispatch.slot_map import SlotMap
    from engine.store.database import Store
    from engine.store.experiment import Experiment

ALL = "all"  # the choice of all nodes that runs which have not ended are on, or wait for
_HISTORY_SECONDS = 3600.0
Samples = Sequence[tuple[float, Mapping[str, Any]]]  # seconds since the epoch, how the node stood


@dataclass(frozen=True, slots=True)
class HostChoice:
    """Nodes to look at. `text` is a hostfile's; null with `path` null: this machine."""

    id: str
    title: str
    note: str
    path: Path | None = None
    text: str | None = None

    @contextmanager
    def as_file(self) -> Iterator[Path]:
        """Give the hostfile; where it is not there any more, one with what stood in it when its run was launched."""
        if self.path is not None and self.path.is_file():
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="plumbline-") as folder:
            path = Path(folder) / "hostfile"
            path.write_text(self.text if self.text is not None else "localhost slots=1\n", encoding="utf-8")
            yield path


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """The nodes at one moment."""

    choice: HostChoice
    slot_map: SlotMap
    live: Sequence[Experiment]  # all experiments that have not ended
    history: tuple[str, Samples] = ("", ())  # of the node with this key
    problem: str | None = None  # why there are no nodes


class ClusterReader:
    """Reads the nodes again and again. For one thread at a time."""

    def __init__(self, store: Store, given: Sequence[Path]) -> None:
        """given: hostfiles of the command line."""
        self._store, self._given = store, tuple(given)

    def choices(self) -> list[HostChoice]:
        """Return what there is to look at: all live nodes, the hostfiles of experiments, those that lie about."""
        from engine.store import experiments
        from tui.form.recipes import find_hostfiles

        found = {ALL: HostChoice(ALL, "all nodes of live runs", "")}
        for experiment in experiments.list_experiments(self._store):
            path = experiment.hostfile
            key = path or "here"
            if key in found:
                continue
            text = experiments.hostfile_text(self._store, experiment.id) if path else None
            note = f"of {experiment.id}"
            found[key] = HostChoice(key, path or "this machine", note, Path(path) if path else None, text)
        for file in find_hostfiles(self._given):
            key = "here" if file is None else str(file.resolve())
            found.setdefault(key, HostChoice(key, "this machine" if file is None else str(file), "", file))
        return list(found.values())

    def read(self, choice: HostChoice | None, key: str) -> ClusterFacts:
        """Return what is known now.

        choice: null for all live nodes, else for those of the newest run. key: of the node whose history is wanted.
        """
        from engine.dispatch import slot_map
        from engine.store import experiments
        from engine.store import nodes as store_nodes

        live = experiments.unfinished(self._store)
        chosen = choice or self._usual(live)
        problem, nodes = None, [*slot_map.nodes_of(self._store, live)] if chosen.id == ALL else []
        if chosen.id != ALL:
            try:
                nodes = list(_nodes(chosen))
            except PlumblineError as error:
                problem = str(error)
        history: Samples = ()
        if key:
            history = store_nodes.samples(self._store, key, since=time.time() - _HISTORY_SECONDS)
        return ClusterFacts(chosen, slot_map.read(self._store, nodes), live, (key, history), problem)

    def _usual(self, live: Sequence[Experiment]) -> HostChoice:
        """Return the nodes of live runs; where there are none, those of the newest run on a cluster, or given ones."""
        choices = self.choices()
        if live:
            return choices[0]
        ended = [one for one in choices[1:] if one.text is not None]
        given = [one for one in choices[1:] if one.path in self._given]
        return next(iter([*ended, *given]), choices[0])


def _nodes(choice: HostChoice) -> Sequence[Node]:
    from engine.cluster.hostfile import load_hostfile, local_hostfile, parse_hostfile

    if choice.text is not None:
        return parse_hostfile(choice.text, choice.title).nodes
    return local_hostfile().nodes if choice.path is None else load_hostfile(choice.path).nodes


def waiting(live: Sequence[Experiment]) -> int:
    """Return how many wait for slots."""
    return sum(experiment.state is State.QUEUED for experiment in live)
