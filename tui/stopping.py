"""Stop, kill and resume: say what it costs, ask, then write what is wanted into the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from engine.errors import PlumblineError
from engine.telemetry.states import State
from tui.actions import table
from tui.actions.action import Action
from tui.text.safe import visible

if TYPE_CHECKING:
    from textual.screen import Screen

    from engine.store.experiment import Experiment
    from tui.app import PlumblineApp


async def stop(app: PlumblineApp, *, now: bool) -> None:
    """Stop a run, or all that are marked, when that is confirmed."""
    entry = table.find("kill" if now else "interrupt")
    if app.context.marked:
        await _stop_several(app, app.context.marked, entry, now=now)
        return
    experiment = app.context.experiment
    if experiment is None:
        return
    risk = await asyncio.to_thread(app.intents.risk, app.store, experiment.id) if now else None
    waiting = experiment.state is State.QUEUED
    if waiting:
        cost = "It has not started yet: no step is lost."
    elif risk is not None:
        cost = str(risk)
    else:
        cost = "It stops at the end of the step it is in and writes a checkpoint: no step is lost."
    verb = "Kill" if now and not waiting else "Stop"
    if await _confirmed(app, verb, experiment, cost, entry):
        await _act(app, app.intents.stop, experiment.id, now=now, done=f"{experiment.id} is being stopped.")


async def resume(app: PlumblineApp) -> None:
    """Begin a new attempt, when that is confirmed."""
    experiment = app.context.experiment
    if experiment is None:
        return
    checkpoint = (await asyncio.to_thread(app.intents.risk, app.store, experiment.id)).checkpoint
    start = (
        "from the beginning: it has no checkpoint"
        if checkpoint is None
        else f"from the checkpoint of step {checkpoint}"
    )
    if await _confirmed(app, "Resume", experiment, f"A new attempt starts {start}.", table.find("resume")):
        await _act(app, app.intents.resume, experiment.id, done=f"{experiment.id} is queued again.")


async def _stop_several(app: PlumblineApp, marked: Sequence[Experiment], entry: Action | None, *, now: bool) -> None:
    from tui.screens.confirm import ConfirmScreen
    from tui.several import cost_of_stopping, stop_all, stoppable_of

    chosen = stoppable_of(marked, now=now)
    number = "1 run" if len(chosen) == 1 else f"{len(chosen)} runs"
    cost = await asyncio.to_thread(cost_of_stopping, app.intents, app.store, chosen, marked, now=now)
    verb = "Kill" if now else "Stop"
    command = entry.twin(app.context, app.named_database) if entry else None
    screen = ConfirmScreen(f"{verb} {number}?", verb=verb, cost=cost, command=command)
    if await _ask(app, screen):
        try:
            await asyncio.to_thread(stop_all, app.intents, app.store, chosen, now=now)
        except PlumblineError as error:
            app.say(str(error), "error")
        else:
            app.say(f"{number} {'is' if len(chosen) == 1 else 'are'} being stopped.")


async def _confirmed(app: PlumblineApp, verb: str, experiment: Experiment, cost: str, entry: Action | None) -> bool:
    from tui.screens.confirm import ConfirmScreen

    name = "" if experiment.name == experiment.id else f" ({visible(experiment.name)})"
    command = entry.twin(app.context, app.named_database) if entry else None
    screen = ConfirmScreen(f"{verb} {experiment.id}{name}?", verb=verb, cost=cost, command=command)
    return await _ask(app, screen)


async def _ask(app: PlumblineApp, question: Screen[bool]) -> bool:
    """Ask, unless a question stands already: the key was pressed again while the cost was being read."""
    return not app.screen.is_modal and await app.push_screen_wait(question) is True


async def _act(app: PlumblineApp, intent: Callable[..., None], *arguments: object, done: str, **named: object) -> None:
    try:
        await asyncio.to_thread(intent, app.store, *arguments, **named)
    except PlumblineError as error:
        app.say(str(error), "error")
    else:
        app.say(done)
