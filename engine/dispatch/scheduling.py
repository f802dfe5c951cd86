"""Which queued runs begin now, where, and why the others wait. Pure: from what is known to what is to be done.

The rule, in plain words:

1.  **Order.** Higher priority first, then who was queued first. A level of priority counts as twelve hours of having
    come earlier (`turns`), so that nobody waits for ever behind a stream of runs that are more urgent. Nothing that
    runs is ever stopped for another.
2.  **A run begins as soon as its slots are free,** in that order: on enough nodes that are reachable, not drained, and
    have as many slots that no run holds and that are not kept for an older run. Two runs share a slot only if both
    were told to share. A run that takes "as many nodes as are free" takes at once as many as it may.
3.  **The first that must wait keeps its place.** Slots are kept for it where it is expected to begin soonest: by the
    expected ends of what holds them; where an end is not known, where the fewest runs stand in its way. A younger run
    may overtake it on all other slots. On the kept ones only if it is expected to end before the last of those runs
    ends that came before and still hold them; an end that nobody knows is taken to be as far ahead as the run has
    lasted, and a queued run of unknown duration to last an hour. A run that is late is about to end.
    So estimates decide how busy the cluster is, never whether a run has its turn: what overtook a run and lasts longer
    than it said opens the kept slots to no one else.
4.  **Nothing is kept** for a run whose parents have not succeeded, whose next try lies ahead, or that needs nodes
    which cannot be reached, are drained, or are held by somebody else: the cluster would stand idle for who knows how
    long. Nor for the second in line on the same nodes: its own time comes.
5.  **Where.** Small runs go where the fewest slots are free, so that whole nodes stay free; on a node, slots lie side
    by side, in the smallest gap that has them. Nodes where a rank of it failed, or that were lost, are taken only
    where the others, busy or not, are too few. Ranks go in hostfile order.

Reasons are sentences that stay as they are while nothing changes, for they are written down when they change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.dispatch import reasons, waiting
from engine.dispatch.occupancy import ASSUMED_SECONDS, NodeStanding, Occupancy, Running
from engine.dispatch.placement import Seat, Want, seat
from engine.dispatch.turns import Turn, turn_of
from engine.errors import ExitCode
from engine.telemetry.states import Desired, State

__all__ = ["Begin", "GiveUp", "NodeStanding", "Queued", "Running", "Verdict", "Wait", "verdicts"]


@dataclass(frozen=True, slots=True)
class Queued:
    """A run that waits. Times are epoch seconds."""

    id: str
    desired: Desired
    parents: Mapping[str, State]  # those it comes after
    priority: int  # higher first
    created_at: float  # when it was queued
    want: Want
    not_before: float | None = None  # after a fault
    not_before_reason: str | None = None  # what is said until then
    seconds: float | None = None  # how long it is expected to last; None: unknown

    @property
    def turn(self) -> Turn:
        """Its place in the order."""
        return turn_of(self.id, self.priority, self.created_at)


@dataclass(frozen=True, slots=True)
class Begin:
    """Start an attempt there."""

    seats: tuple[Seat, ...]


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
    parent: str | None = None  # for want of which


Verdict = Begin | Wait | GiveUp


def verdicts(
    queue: Sequence[Queued], nodes: Mapping[str, NodeStanding], running: Sequence[Running], now: float
) -> dict[str, Verdict]:
    """Return what becomes of each queued run, by id, in the order of their turns.

    Args:
        queue: in any order; each asks for no more than its hostfile has.
        nodes: by node key; one that is not among them is free and reachable.
        running: what holds slots.
        now: the time.
    """
    occupancy = Occupancy(nodes, running, now)
    found: dict[str, Verdict] = {}
    for queued in sorted(queue, key=lambda each: each.turn):
        found[queued.id] = _not_yet(queued, now) or _served(queued, occupancy)
    return found


def _not_yet(queued: Queued, now: float) -> Verdict | None:
    """Return what keeps a run from beginning even on an idle cluster."""
    if queued.desired is not Desired.RUN:
        return GiveUp(State.STOPPED, ExitCode.INTERRUPTED, "stopped before it started.")
    for parent, state in queued.parents.items():
        if state.ended_badly:
            return GiveUp(State.FAILED, ExitCode.RUN_FAILED, reasons.parent_failed(parent, state), parent)
    for parent, state in queued.parents.items():
        if state is not State.SUCCEEDED:
            return Wait(f"waits for {parent} to succeed")
    if queued.not_before is not None and queued.not_before > now:
        return Wait(queued.not_before_reason or f"tries again at {waiting.clock(queued.not_before, now)}")
    return None


def _served(queued: Queued, occupancy: Occupancy) -> Verdict:
    want, now = queued.want, occupancy.now
    view = occupancy.view(want)
    if len(view.usable) < want.fewest:
        return Wait(waiting.for_nodes(want, occupancy))
    if view.ours < want.fewest:
        return Wait(waiting.for_others(want, occupancy))
    seconds = ASSUMED_SECONDS if queued.seconds is None else queued.seconds
    fits = occupancy.fits(want, now + seconds)
    if len(fits) >= want.fewest:
        chosen = occupancy.choose(want, fits)
        slots = {candidate.key: numbers for candidate, numbers in chosen}
        ends_at = None if queued.seconds is None else now + queued.seconds
        occupancy.hold(Running(queued.id, slots, now, ends_at, want.share, queued.turn, queued.seconds))
        return Begin(seat(chosen))
    reason = waiting.for_slots(want, occupancy, queued.turn)
    occupancy.keep(queued.id, queued.turn, want)
    return Wait(reason)
