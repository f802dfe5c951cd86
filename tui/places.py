"""The places of the program, one a digit: what they are called, and which screen each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from textual.screen import Screen


@dataclass(frozen=True, slots=True)
class Place:
    """One of the screens that a digit leads to. A screen is only loaded when somebody goes there."""

    id: str
    key: str
    title: str
    screen: str  # module:class; empty: the app itself knows how to get there

    def make(self) -> Screen[Any]:
        """Return a new screen."""
        module, _, name = self.screen.partition(":")
        made: Screen[Any] = getattr(import_module(module), name)()
        return made


PLACES: tuple[Place, ...] = (
    Place("runs", "1", "Runs", ""),
    Place("run", "2", "Run", ""),
    Place("compare", "3", "Compare", "tui.screens.compare:CompareScreen"),
    Place("queue", "4", "Queue", "tui.screens.queue:QueueScreen"),
    Place("cluster", "5", "Cluster", "tui.screens.cluster:ClusterScreen"),
    Place("index", "6", "Index", "tui.screens.index:IndexScreen"),
)


def place(identity: str) -> Place:
    """Return a place by its id. Raises KeyError."""
    return _BY_ID[identity]


_BY_ID = {one.id: one for one in PLACES}
