"""What the screens know of the database, and when it changed. All reading happens in threads.

The app owns one `StoreWatcher`. It opens the database once it is there, polls `Store.data_version()`, and posts to
the app; the app then calls `reload()` of the screen that is shown (see `Follows`).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textual.message import Message

from engine.errors import PlumblineError

if TYPE_CHECKING:
    from textual.app import App

    from engine.store.database import Store
    from engine.store.experiment import Experiment

_POLL = 0.07  # seconds between looks at the version: one pragma, no table is read
_IDLE_POLL = 0.3  # when nothing has changed for a while
_IDLE_AFTER = 5.0  # seconds without a change
_LOOK_FOR_DISPATCHER = 1.0  # seconds
_PAUSE = 2.0  # seconds after a failed look
TAIL = 24  # points behind a sparkline


@runtime_checkable
class Follows(Protocol):
    """A screen that follows the store: `reload` is called when it changed, and when the screen is shown again."""

    def reload(self) -> None:
        """Read what is new, in a thread."""


class StoreOpened(Message):
    """The database is there and open."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store


class StoreChanged(Message):
    """Somebody wrote to the database."""


class StoreFailed(Message):
    """The database cannot be used."""

    def __init__(self, error: PlumblineError) -> None:
        super().__init__()
        self.error = error


class DispatcherSeen(Message):
    """Whether the process that runs the experiments is alive. pid: null when it is not."""

    def __init__(self, pid: int | None) -> None:
        super().__init__()
        self.pid = pid


class StoreWatcher:
    """A thread that waits for the database, opens it, and tells the app of every change until it is stopped."""

    def __init__(self, app: App[Any], path: Path) -> None:
        self._app, self._path = app, path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="store-watcher", daemon=True)

    def start(self) -> None:
        """Begin. Call it after the first frame: the thread imports the database library."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _watch(self) -> None:
        store = self._opened()
        if store is None:
            return
        self._app.post_message(StoreOpened(store))
        while not self._stopped.is_set():
            try:
                self._follow(store)
            except PlumblineError as error:
                self._app.post_message(StoreFailed(error))
                self._stopped.wait(_PAUSE)
        store.close()

    def _opened(self) -> Store | None:
        """Return the database as soon as its file is there; null when it cannot be opened, or when told to stop."""
        while not self._path.exists():
            if self._stopped.wait(_POLL):
                return None
        try:
            return _open(self._path)
        except PlumblineError as error:
            self._app.post_message(StoreFailed(error))
            return None

    def _follow(self, store: Store) -> None:
        version, changed_at, looked_at = store.data_version(), time.monotonic(), -math.inf
        seen: tuple[int | None] | None = None  # the dispatcher's id, as it was told last
        while not self._stopped.is_set():
            now = time.monotonic()
            if now - looked_at >= _LOOK_FOR_DISPATCHER:
                looked_at = now
                found = (_dispatcher_pid(self._path),)
                if found != seen:
                    seen = found
                    self._app.post_message(DispatcherSeen(*found))
            self._stopped.wait(_POLL if now - changed_at < _IDLE_AFTER else _IDLE_POLL)
            newest = store.data_version()
            if newest != version:
                version, changed_at = newest, time.monotonic()
                self._app.post_message(StoreChanged())


def _open(path: Path) -> Store:
    from engine.store.database import Store

    return Store.open(path)


def _dispatcher_pid(path: Path) -> int | None:
    from engine.dispatch import lifecycle

    return lifecycle.status(path).pid


@dataclass(frozen=True, slots=True)
class Overview:
    """The list of experiments at one moment, newest first."""

    experiments: Sequence[Experiment] = ()
    tails: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of their headline metrics
    specs: Mapping[str, Mapping[str, Any]] | None = None  # values of their specs; null: not asked for
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # that were saved
    best: Sequence[str] = ()  # metrics whose best values the experiments have


class OverviewReader:
    """Reads the list again and again; tails and specs only of experiments that moved. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        from engine.store.bests import Bests
        from engine.store.spec_values import SpecValues

        self._store = store
        self._bests = Bests(store)
        self._tails: dict[str, Sequence[float]] = {}
        self._seen: dict[str, tuple[object, ...]] = {}
        self._specs = SpecValues(store)

    def read(
        self, *, archived: bool = False, specs: bool = False, best: Sequence[str] = (), tails: bool = True
    ) -> Overview:
        """Return what is known now.

        Args:
            archived: archived ones too.
            specs: with the values of their specs.
            best: metrics whose best values are wanted.
            tails: false: as they were, of experiments whose state is as it was.
        """
        from engine.store import experiments, series, views

        found = experiments.list_experiments(self._store, archived=archived)
        marks = {experiment.id: (experiment.step, experiment.attempts, experiment.state) for experiment in found}
        moved = [identity for identity, mark in marks.items() if self._moved(identity, mark, tails)]
        if moved:
            self._tails |= series.tails(self._store, moved, TAIL)
            self._seen |= {identity: marks[identity] for identity in moved}
        values = self._specs.of(found) if specs else None
        found = self._bests.into(found, best)
        return Overview(found, dict(self._tails), values, views.saved(self._store), best)

    def _moved(self, identity: str, mark: tuple[object, ...], tails: bool) -> bool:
        seen = self._seen.get(identity)
        return seen is None or seen[1:] != mark[1:] or (tails and seen != mark)
