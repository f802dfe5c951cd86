"""A thread that looks at what has not ended yet, and tells the app what happened to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from textual.message import Message

from engine.errors import NotFound, PlumblineError
from engine.telemetry.records import Level
from engine.telemetry.states import State
from tui.notices.changes import Notice, Seen, notices

if TYPE_CHECKING:
    from textual.app import App

    from engine.store.database import Store
    from engine.store.experiment import Experiment

_REST = 8.0  # times what a look took is waited before the next one
_SHORTEST_REST = 0.5  # seconds
_HEALTH_EVERY = 10.0  # seconds between looks at the health of what runs: the curves that rules look at are read


class Noticed(Message):
    """Something happened that is worth a notice."""

    def __init__(self, found: list[Notice]) -> None:
        super().__init__()
        self.notices = found


class NoticeWatcher:
    """Looks when it is woken, and no faster than its pace; what stands at its first look is no news."""

    def __init__(self, app: App[Any], store: Store, *, health: bool) -> None:
        """health: whether verdicts are asked for."""
        self.known: Mapping[str, Seen] | None = None  # what had not ended at the last look; null before the first
        self._app, self._store, self._health = app, store, health
        self._woken, self._stopped = threading.Event(), threading.Event()
        self._looked_at_health = float("-inf")
        self._thread = threading.Thread(target=self._watch, name="notices", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Say that the database changed."""
        self._woken.set()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._woken.set()
        self._thread.join(timeout=5)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            began = time.thread_time()
            try:
                after = look(self._store, self.known or {}, health=self._health_is_due())
            except PlumblineError:  # whoever shows the database says so
                after = None
            if after is not None:
                found = notices(self.known, after) if self.known is not None else []
                if found:
                    self._app.post_message(Noticed(found))
                self.known = {identity: seen for identity, seen in after.items() if not seen.state.ended}
            self._stopped.wait(max(_SHORTEST_REST, _REST * (time.thread_time() - began)))
            self._woken.wait(_HEALTH_EVERY if self._health else None)
            self._woken.clear()

    def _health_is_due(self) -> bool:
        due = self._health and time.monotonic() - self._looked_at_health >= _HEALTH_EVERY
        if due:
            self._looked_at_health = time.monotonic()
        return due


def look(store: Store, known: Mapping[str, Seen], *, health: bool) -> dict[str, Seen]:
    """Return what has not ended, and how those stand that had not ended when they were seen last.

    known: of the look before. health: whether to judge what runs; what was wrong with it once stays so.
    """
    from engine.store import experiments

    found = {one.id: one for one in experiments.unfinished(store)}
    for identity in known.keys() - found.keys():
        try:
            found[identity] = experiments.get(store, identity)
        except NotFound:  # it was deleted
            continue
    after = {}
    for identity, experiment in found.items():
        wrong = known[identity].wrong if identity in known else {}
        if health and experiment.state is State.RUNNING:
            wrong = {**_errors(store, identity), **wrong}
        after[identity] = replace(_seen(experiment), wrong=wrong)
    return after


def _seen(experiment: Experiment) -> Seen:
    return Seen(experiment.id, experiment.name, experiment.state, experiment.step, experiment.reason)


def _errors(store: Store, identity: str) -> dict[str, str]:
    from engine.store.verdicts import read_verdicts

    verdicts = read_verdicts(store, identity, time.time())
    return {verdict.rule: verdict.sentence for verdict in verdicts if verdict.level is Level.ERROR}
