"""The table of all actions, in the order in which key bar, help and palette show them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.binding import Binding

from tui.actions.action import Action
from tui.actions.charts import CHARTS, CHARTS_LATER, LOG
from tui.actions.cluster import CLUSTER, CLUSTER_LATER
from tui.actions.compare import COMPARE, COMPARE_LATER
from tui.actions.everywhere import EVERYWHERE
from tui.actions.experiment import EXPERIMENT
from tui.actions.index import INDEX, INDEX_LATER
from tui.actions.launch import LAUNCH, RECIPES
from tui.actions.queue import QUEUE, QUEUE_LATER
from tui.actions.runs import RUNS, RUNS_LATER

ACTIONS: list[Action] = [
    *RUNS,
    *CHARTS,
    *COMPARE,
    *INDEX,
    *CLUSTER,
    *QUEUE,
    *RECIPES,
    *LAUNCH,
    *EXPERIMENT,
    *CHARTS_LATER,
    *COMPARE_LATER,
    *LOG,
    *RUNS_LATER,
    *INDEX_LATER,
    *CLUSTER_LATER,
    *QUEUE_LATER,
    *EVERYWHERE,
]
_BY_ID = {action.id: action for action in ACTIONS}
_RANKS = {action.id: place for place, action in enumerate(ACTIONS)}


def replace_all(actions: Sequence[Action]) -> None:
    """Let these be the actions from now on; screens that are loaded already keep their keys."""
    ACTIONS[:] = actions
    _BY_ID.update({action.id: action for action in actions})


def find(identity: str | None) -> Action | None:
    """Return the action of that id."""
    return _BY_ID.get(identity or "")


def rank(identity: str | None) -> int:
    """Return the place of an action in the table; what does not stand there comes first."""
    return _RANKS.get(identity or "", -1)


def of_scope(*scopes: str) -> Iterator[Action]:
    """Yield the actions of these scopes, in the table's order."""
    return (entry for entry in ACTIONS if entry.scope in scopes)


def bindings(*scopes: str) -> list[Binding]:
    """Return the key bindings of these scopes; each goes through the app's `act`, which asks `refusal` first."""
    return [
        Binding(
            entry.keys,
            f"app.act('{entry.id}')",
            entry.short or entry.text,
            show=entry.short is not None,
            key_display=entry.key_display,
            id=entry.id,
            tooltip=entry.text,
        )
        for entry in of_scope(*scopes)
    ]
