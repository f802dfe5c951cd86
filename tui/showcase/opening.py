"""`plumbline --demo`: a process of its own writes the experiments while the program is open, then all is deleted."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import Refused
from tui.form.launches import Launcher, PipelinePlan, Plan
from tui.intents import Intents

if TYPE_CHECKING:
    from engine.store.database import Store

DATABASE = "experiments.db"


class IdleLauncher(Launcher):
    """Plans as ever, and launches nothing."""

    def launch(self, plan: Plan | PipelinePlan) -> list[str]:
        """Refuse: there is no cluster. Raises Refused."""
        raise Refused("these experiments are generated: nothing runs here.", hint="Start plumbline without --demo.")


class IdleIntents(Intents):
    """Changes the database as ever, and never starts a dispatcher."""

    dispatches = False

    def __init__(self, database: Path) -> None:
        super().__init__(database, wake=lambda path: None)
        self.launcher = IdleLauncher(database, self._wake)

    def live(self, store: Store) -> int:
        """Return 0: nothing goes on when the program is left."""
        return 0


@contextmanager
def generated_experiments() -> Iterator[Path]:
    """Yield the path of a database that is there soon; it and its writer are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="plumbline-demo-") as folder:
        writer = subprocess.Popen(
            [sys.executable, "-m", "tui.showcase", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            yield Path(folder) / DATABASE
        finally:
            writer.terminate()  # nothing of it is kept
            writer.communicate()
