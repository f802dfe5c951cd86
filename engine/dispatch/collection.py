"""From the copies of a run's fact files into the database, each row once."""

from __future__ import annotations

from collections.abc import Callable

from engine.dispatch.mirror import Mirror
from engine.store import facts
from engine.store.database import Store
from engine.telemetry.reader import read_chunk
from engine.telemetry.records import FACT_FILES


class Collection:
    """The way of one experiment's facts into the database. The cursor stands in the database, beside the rows."""

    def __init__(self, store: Store, experiment: str, mirror: Mirror, complain: Callable[[str], None]) -> None:
        self._store, self._experiment, self._mirror, self._complain = store, experiment, mirror, complain
        self._seen: dict[str, int] = {}  # size of each file up to which every complete line is in

    def collect(self) -> None:
        """Bring in all complete lines that are there."""
        for name in FACT_FILES:
            path = self._mirror.folder / name
            try:
                size = path.stat().st_size
            except FileNotFoundError:
                continue
            if self._seen.get(name) == size:
                continue
            while True:
                cursor = facts.cursor(self._store, self._experiment, name)
                chunk = read_chunk(path, cursor)
                if chunk.offset == cursor and not chunk.records and not chunk.truncated:
                    break
                for problem in chunk.problems:
                    self._complain(f"{name}: {problem}")
                facts.ingest(self._store, self._experiment, name, chunk, cursor)
            self._seen[name] = size

    @property
    def complete(self) -> bool:
        """Whether nothing has been added to the files since the last `collect`."""
        for name in FACT_FILES:
            path = self._mirror.folder / name
            if path.exists() and path.stat().st_size != self._seen.get(name):
                return False
        return True
