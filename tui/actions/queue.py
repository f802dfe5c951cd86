"""The actions of the queue."""

from __future__ import annotations

from engine.telemetry.states import State
from tui.actions.action import Action, Context, always, on_experiment


def queued(context: Context) -> str | None:
    """Refuse what does not wait."""
    experiment = context.experiment
    if experiment is None:
        return on_experiment(context)
    if experiment.state is not State.QUEUED:
        return f"{experiment.id} is {experiment.state.value}: its turn has come, and its priority means nothing."
    return None


QUEUE: tuple[Action, ...] = (
    Action(
        "queue-open", "enter", "open the run: live curves, log, samples", "screen.open", on_experiment, "queue",
        cli="show {id}", short="open",
    ),
    Action(
        "queue-new", "n", "start a new run from a recipe, or a pipeline", "app.new", always, "queue", danger=True,
        cli="launch FILE --hostfile H", short="new",
    ),
    Action(
        "sooner", "plus,equals_sign", "raise its priority by one: twelve hours of having come earlier",
        "screen.prioritise(1)", queued, "queue", writes=True, cli="priority {id} N", short="sooner",
    ),
    Action(
        "later", "minus", "lower its priority by one", "screen.prioritise(-1)", queued, "queue", writes=True,
        cli="priority {id} -- -N", short="later",
    ),
)  # fmt: skip
QUEUE_LATER: tuple[Action, ...] = (
    Action(
        "queue-pane", "tab", "the other pane: the queue, or its details", "screen.pane", always, "queue", short="pane",
        cli="queue",
    ),
    Action("queue-back", "escape", "back to the queue", "screen.back", always, "queue"),
)  # fmt: skip
