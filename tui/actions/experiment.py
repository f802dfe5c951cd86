"""The actions on an experiment, wherever one is chosen: in the list, live, in the queue."""

from __future__ import annotations

from tui.actions.action import Action, interruptible, on_experiment, resumable, stoppable

EXPERIMENT: tuple[Action, ...] = (
    Action(
        "interrupt",
        "I",
        "stop at the end of this step, with a checkpoint",
        "app.stop(False)",
        interruptible,
        "run",
        danger=True,
        cli="stop {ids}",
        several=True,
        short="stop",
    ),
    Action(
        "kill",
        "K",
        "stop now; steps since the last checkpoint are lost",
        "app.stop(True)",
        stoppable,
        "run",
        danger=True,
        cli="stop {ids} --now",
        several=True,
        short="kill",
    ),
    Action(
        "resume",
        "R",
        "resume from the last good checkpoint",
        "app.resume",
        resumable,
        "run",
        danger=True,
        cli="resume {id}",
        short="resume",
    ),
    Action(
        "clone",
        "C",
        "start a new run like this one, with changes",
        "app.clone",
        on_experiment,
        "run",
        danger=True,
        cli="launch --clone {id} --set KEY=VALUE",
        short="clone",
    ),
    Action("copy", "y", "copy its id, folder, spec or command", "app.copy", on_experiment, "run", cli="show {id}"),
)
