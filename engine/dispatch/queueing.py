"""Which queued experiments begin now, and why the others wait. Pure.

A run takes its nodes for itself. Who came first is served first: a younger run never takes a node that an older one
waits for, though it may take others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.dispatch import reasons
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State


@dataclass(frozen=True, slots=True)
class Queued:
    """An experiment that waits."""

    id: str
    desired: Desired
    parents: Mapping[str, State]  # those it comes after
    hosts: Sequence[str]  # the nodes that it would take


@dataclass(frozen=True, slots=True)
class Begin:
    """Start an attempt."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay in the queue, for a reason."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End without an attempt."""

    state: State
    exit_code: ExitCode
    reason: str


Verdict = Begin | Wait | GiveUp


def verdicts(queue: Sequence[Queued], taken: Mapping[str, str]) -> dict[str, Verdict]:
    """Return what becomes of each queued experiment.

    Args:
        queue: oldest first.
        taken: the experiment that holds each host.
    """
    holders = dict(taken)
    found: dict[str, Verdict] = {}
    for queued in queue:
        verdict = _verdict(queued, holders)
        found[queued.id] = verdict
        if isinstance(verdict, Begin) or (isinstance(verdict, Wait) and _may_run(queued)):
            for host in queued.hosts:
                holders.setdefault(host, queued.id)
    return found


def _may_run(queued: Queued) -> bool:
    return all(state is State.SUCCEEDED for state in queued.parents.values())


def _verdict(queued: Queued, holders: Mapping[str, str]) -> Verdict:
    if queued.desired is not Desired.RUN:
        return GiveUp(State.STOPPED, ExitCode.INTERRUPTED, "stopped before it started.")
    for parent, state in queued.parents.items():
        if state.ended and state is not State.SUCCEEDED:
            return GiveUp(State.FAILED, ExitCode.RUN_FAILED, reasons.parent_failed(parent, state))
    for parent, state in queued.parents.items():
        if state is not State.SUCCEEDED:
            return Wait(f"waits for {parent} to succeed")
    blocked = next((host for host in queued.hosts if host in holders), None)
    return Begin() if blocked is None else Wait(reasons.waits_for(holders[blocked], blocked))
