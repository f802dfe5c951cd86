"""What a person does to the world from the terminal UI: written into the database, then the dispatcher is woken.

Everything here reads and writes; call it from threads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.telemetry.states import Desired
from tui.form.launches import Launcher

if TYPE_CHECKING:
    from engine.store.database import Store


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

    dispatches = True  # whether there is a dispatcher to speak of

    def __init__(self, database: Path, *, wake: Callable[[Path], None] = _wake) -> None:
        self.database, self._wake = database, wake
        self.launcher = Launcher(database, wake)

    def wake(self) -> None:
        """Start the dispatcher unless it runs."""
        self._wake(self.database)

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

    def set_priority(self, store: Store, identity: str, priority: int) -> None:
        """Let it come earlier in the line, or later."""
        from engine.store import bookkeeping

        bookkeeping.set_priority(store, identity, priority)

    def drain(self, store: Store, key: str, host: str, *, drained: bool) -> None:
        """Let nothing new begin on a node, or again. key: of the node, as `engine.dispatch.placement` makes it."""
        from engine.store import experiments, nodes
        from engine.telemetry.states import State

        nodes.drain(store, key, host, drained=drained)
        if any(experiment.state is State.QUEUED for experiment in experiments.unfinished(store)):
            self.wake()
