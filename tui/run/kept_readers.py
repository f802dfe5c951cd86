"""The readers of the runs that were shown last: who goes back to one does not wait for its points again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tui.run.facts import RunReader

if TYPE_CHECKING:
    from engine.store.database import Store

_MOST = 3  # each has up to 12 MB, of a run of 100,000 steps


class KeptReaders:
    """Of the readers that were asked for, the newest ones."""

    def __init__(self) -> None:
        self._readers: dict[str, RunReader] = {}  # by experiment, in the order in which they were asked for

    def of(self, store: Store, identity: str) -> RunReader:
        """Return the reader of an experiment; all others are not wanted now."""
        for other in self._readers.values():
            other.is_wanted = False
        reader = self._readers.pop(identity, None) or RunReader(store, identity)
        reader.is_wanted = True
        self._readers[identity] = reader
        for oldest in list(self._readers)[:-_MOST]:
            del self._readers[oldest]
        return reader

    def forget(self) -> None:
        """Keep none."""
        self._readers.clear()
