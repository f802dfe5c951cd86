"""Stopping several runs at once: what it costs together, in words. Call the functions that read from threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.telemetry.states import Desired, State

if TYPE_CHECKING:
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from tui.intents import Intents

_FEW = 4  # runs that a sentence names


def stoppable_of(marked: Sequence[Experiment], *, now: bool) -> list[Experiment]:
    """Return those that can be stopped, at once or gently."""
    return [one for one in marked if not one.state.ended and (now or one.desired is Desired.RUN)]


def cost_of_stopping(
    intents: Intents, store: Store, chosen: Sequence[Experiment], marked: Sequence[Experiment], *, now: bool
) -> str:
    """Return who is stopped, what is lost, and which of the marked ones stay as they are."""
    named = ", ".join(one.id for one in chosen[:_FEW])
    named += f" and {len(chosen) - _FEW} more" if len(chosen) > _FEW else ""
    begun = [one for one in chosen if one.state is not State.QUEUED]
    if not begun:
        cost = "None has started: no step is lost."
    elif not now:
        cost = "Each stops at the end of the step it is in and writes a checkpoint: no step is lost."
    else:
        steps = sum(intents.risk(store, one.id).steps for one in begun)
        cost = f"Steps lost since the last checkpoints: {steps}." if steps else "No step is lost."
    left = len(marked) - len(chosen)
    rest = f" {left} of the marked {'has' if left == 1 else 'have'} ended or {'is' if left == 1 else 'are'} stopping."
    return f"{named}. {cost}{rest if left else ''}"


def stop_all(intents: Intents, store: Store, chosen: Sequence[Experiment], *, now: bool) -> None:
    """Have them stop, those that come after others first. Raises Refused when one has ended meanwhile."""
    for one in sorted(chosen, key=lambda one: one.created_at, reverse=True):
        intents.stop(store, one.id, now=now)
