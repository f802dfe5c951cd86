"""What a person does to the world from the terminal UI: written into the database, then the dispatcher is woken.

Everything here reads and writes; call it from threads.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import NotFound, Refused
from engine.telemetry.states import Desired

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.plan.memory import MemoryPlan
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.inputs import Input


@dataclass(frozen=True, slots=True)
class Request:
    """What was chosen for a launch. hostfile: null for this machine, without SSH."""

    recipe: Path
    hostfile: Path | None = None
    name: str = ""
    overrides: tuple[str, ...] = ()

    def command(self, database: str | None = None) -> str:
        """Return the `engine` command that does the same. database: what `--db` must say, if anything."""
        words = ["engine", "launch", str(self.recipe)]
        words += ["--hostfile", str(self.hostfile)] if self.hostfile else []
        words += ["--name", self.name] if self.name else []
        for override in self.overrides:
            words += ["--set", override]
        return shlex.join([*words, "--db", database] if database else words)


@dataclass(frozen=True, slots=True)
class Plan:
    """A request that holds: its spec is valid, what it takes is there, and it can run where it is to run."""

    request: Request
    spec: AnySpec  # with paths in place of references
    hosts: Hostfile
    seats: tuple[Seat, ...]  # what it takes of the nodes
    inputs: Sequence[Input]  # what its references mean
    memory: MemoryPlan | None  # of a rank; None: it cannot be said here
    warnings: Sequence[str]  # what is odd about it, in sentences

    @property
    def name(self) -> str:
        """What the experiment will be called; empty: by its id."""
        return self.request.name or self.spec.name or ""

    @property
    def ranks(self) -> tuple[int, int]:
        """Nodes and ranks that it takes."""
        return len(self.seats), sum(seat.slots for seat in self.seats)


@dataclass(frozen=True, slots=True)
class Risk:
    """What stopping an experiment now would cost."""

    steps: int
    checkpoint: int | None  # step of the last complete one

    def __str__(self) -> str:
        if self.checkpoint is None:
            return f"There is no checkpoint yet: all {self.steps} steps are lost." if self.steps else "No step is lost."
        if self.steps == 0:
            return f"No step is lost: the checkpoint of step {self.checkpoint} is the newest step."
        lost = "1 step is lost" if self.steps == 1 else f"{self.steps} steps are lost"
        return f"{lost}: the last checkpoint is of step {self.checkpoint}."


def _wake(database: Path) -> None:
    from engine.dispatch.lifecycle import ensure_running

    ensure_running(database)


class Intents:
    """The ways to change what runs. `wake` starts the dispatcher of a database unless it runs already."""

    def __init__(self, database: Path, *, wake: Callable[[Path], None] = _wake) -> None:
        self.database, self._wake = database, wake

    def wake(self) -> None:
        """Start the dispatcher unless it runs."""
        self._wake(self.database)

    def plan(self, request: Request) -> Plan:
        """Return the checked plan of a launch.

        Raises:
            InvalidInput, NotFound, Refused: with the sentence that says why not.
        """
        from engine.cluster.hostfile import load_hostfile, local_hostfile
        from engine.dispatch.fitting import place_at, require_fit
        from engine.dispatch.placement import place
        from engine.spec.loading import load_spec
        from engine.spec.resolve import input_paths, with_absolute_paths

        spec = with_absolute_paths(load_spec(request.recipe, request.overrides), request.recipe.resolve().parent)
        hosts = load_hostfile(request.hostfile) if request.hostfile else local_hostfile()
        spec, inputs, brought = self._look_up(spec, hosts)
        needed = [path for path in input_paths(spec) if str(path) not in brought] if request.hostfile is None else []
        missing = [_near(path) for path in needed if not path.exists()]
        if missing:
            raise Refused(
                f"needs {' and '.join(map(str, missing))}, which {'are' if len(missing) > 1 else 'is'} not there.",
                hint="The first lines of a recipe say how to make what it needs; set data.train=FILE names another.",
                where=str(request.recipe),
            )
        seats = place(hosts.nodes, spec.placement)
        fit = require_fit(spec, place_at(hosts, seats), where=str(request.recipe))
        warnings = fit.warnings if fit.unchecked is None else (f"Not checked whether it fits: {fit.unchecked}",)
        return Plan(request, spec, hosts, seats, inputs, fit.memory, warnings)

    def launch(self, plan: Plan) -> str:
        """Queue the experiment, start the dispatcher, and return the new id."""
        from engine.cluster.snapshot import take_snapshot
        from engine.store import experiments
        from engine.store.database import Store

        store = Store.open(self.database)
        try:
            identity = experiments.create(
                store,
                plan.spec,
                name=plan.request.name or None,
                hostfile=str(plan.request.hostfile.resolve()) if plan.request.hostfile else None,
                hostfile_text=plan.hosts.text if plan.request.hostfile else None,
                inputs=plan.inputs,
                code=take_snapshot(store.objects_dir).sha256,
            )
        finally:
            store.close()
        self.wake()
        return identity

    def _look_up(self, spec: AnySpec, hosts: Hostfile) -> tuple[AnySpec, Sequence[Input], set[str]]:
        """Return the spec with paths for its references, what they mean, and the paths that lie on other machines."""
        from engine.dispatch.inputs import made_elsewhere, resolve_references
        from engine.spec.references import references_of
        from engine.store.database import Store

        references = references_of(spec)
        if not references:
            return spec, (), set()
        if not self.database.exists():
            key, reference = next(iter(references.items()))
            raise NotFound(f"{key} is {reference.text}, and there is no database to look it up in: {self.database}.")
        store = Store.open(self.database)
        try:
            resolved, inputs = resolve_references(store, spec, hosts)
            return resolved, inputs, made_elsewhere(store, inputs)
        finally:
            store.close()

    def live(self, store: Store) -> int:
        """Return how many experiments have not ended."""
        from engine.store import experiments

        return sum(not experiment.state.ended for experiment in experiments.list_experiments(store, archived=True))

    def risk(self, store: Store, identity: str) -> Risk:
        """Return what is lost when the experiment stops at once."""
        from engine.store import events, experiments

        step = experiments.get(store, identity).step
        checkpoint = events.last_checkpoint(store, identity)
        return Risk(max(0, step - (checkpoint or 0)), checkpoint)

    def stop(self, store: Store, identity: str, *, now: bool) -> None:
        """Have it stop at the end of the step with a checkpoint, or at once."""
        from engine.store import experiments

        experiments.set_desired(store, identity, Desired.STOP_NOW if now else Desired.STOP)
        self.wake()

    def resume(self, store: Store, identity: str) -> None:
        """Queue a new attempt."""
        from engine.store import experiments

        experiments.resume(store, identity)
        self.wake()

    def set_archived(self, store: Store, identity: str, archived: bool) -> None:
        """Put it out of the list, or back."""
        from engine.store import bookkeeping

        (bookkeeping.archive if archived else bookkeeping.restore)(store, identity)


def find_files(folder_name: str, suffix: str, roots: Sequence[Path]) -> list[Path]:
    """Return the files below `folder_name` of each root, sorted; those of the working folder relative to it."""
    found: dict[Path, Path] = {}
    for root in roots:
        for path in sorted((root / folder_name).rglob(f"*{suffix}")):
            if path.is_file() and not path.name.startswith("."):
                found.setdefault(path.resolve(), _near(path))
    return list(found.values())


def _near(path: Path) -> Path:
    """Return the path relative to the working folder, if it is in it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
