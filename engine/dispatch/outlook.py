"""When a spec that is launched now would begin, and about how long it would take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.dispatch.estimates import Alike, alike, expected_seconds
from engine.dispatch.occupancy import Running
from engine.dispatch.placement import from_rows, want_of, world_size
from engine.dispatch.scheduling import Begin, Queued, Wait, verdicts
from engine.dispatch.turns import turn_of
from engine.spec.models import SimSpec
from engine.store import attempts, experiments
from engine.telemetry.states import Desired

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.dispatch.survey import InLine, OnNodes, Survey
    from engine.spec.models import AnySpec
    from engine.store.database import Store

_NEW = "a new run"  # in place of an id


@dataclass(frozen=True, slots=True)
class Outlook:
    """What can be said before a run is queued."""

    begins: bool  # at once
    why_not: str  # why it would wait, one clause; empty if it begins, or nobody can say
    ahead: int  # runs that come before it in the line
    seconds: float | None = None  # from its first step to its last
    like: str | None = None  # the run that this is known from; null: it follows from the spec


def outlook(survey: Survey, spec: AnySpec, hosts: Hostfile, *, priority: int = 0) -> Outlook:
    """Return what the dispatcher would say, as far as the database tells it.

    Args:
        survey: how things stand.
        spec: what is to run.
        hosts: where.
        priority: its own.

    Raises:
        Refused: if the nodes have less than it asks for.
    """
    if hosts.slurm is not None:
        return Outlook(False, "Slurm decides when it begins", 0)
    ours = Queued(_NEW, Desired.RUN, {}, priority, survey.at, want_of(hosts.nodes, spec.placement))
    line = [_queued(each) for each in survey.waiting]
    queue = [each for each in line if each is not None]
    running = [_running(each) for each in survey.running]
    standing = {each.key: each.standing for each in survey.machines}
    verdict = verdicts([*queue, ours], standing, running, survey.at)[_NEW]
    ahead = sum(each.turn < ours.turn for each in queue)
    return Outlook(isinstance(verdict, Begin), verdict.reason if isinstance(verdict, Wait) else "", ahead)


def _queued(each: InLine) -> Queued | None:
    if each.asked is None or each.asked.want is None:
        return None
    experiment = each.experiment
    return Queued(
        experiment.id,
        experiment.desired,
        each.parents,
        experiment.priority,
        each.turn.created_at,
        each.asked.want,
        not_before=experiment.not_before,
        not_before_reason=experiment.reason,
    )


def _running(each: OnNodes) -> Running:
    experiment = each.experiment
    turn = turn_of(experiment.id, experiment.priority, experiment.queued_at or experiment.created_at)
    return Running(experiment.id, each.slots, each.began_at, each.ends_at, each.spec.placement.share, turn)


class Durations:
    """How long runs took, of the last ones of each kind; each is read once. For one thread at a time."""

    _AGAIN_SECONDS = 30.0  # between two looks at what has finished since

    def __init__(self, store: Store) -> None:
        self._store = store
        self._alike: dict[str, Alike | None] = {}
        self._finished: dict[str, tuple[float, list[tuple[str, Alike, float]]]] = {}

    def of(self, spec: AnySpec, seats: Sequence[Seat]) -> tuple[float | None, str | None]:
        """Return how many seconds it would take, and the newest run that this is known from."""
        ranks = world_size(seats)
        if isinstance(spec, SimSpec):
            return expected_seconds(spec, ranks, ()), None
        finished = self._of_kind(spec.kind)
        seconds = expected_seconds(spec, ranks, [(like, lasted) for _, like, lasted in finished])
        mine = alike(spec, ranks)
        newest = next((identity for identity, like, _ in reversed(finished) if like == mine), None)
        return seconds, newest

    def _of_kind(self, kind: str) -> list[tuple[str, Alike, float]]:
        at, found = self._finished.get(kind, (float("-inf"), []))
        if time.monotonic() - at > self._AGAIN_SECONDS:
            found = []
            for identity, placement, seconds in attempts.finished(self._store, kind):
                if identity not in self._alike:
                    spec = experiments.get_spec(self._store, identity)
                    self._alike[identity] = alike(spec, world_size(from_rows(placement)))
                like = self._alike[identity]
                if like is not None:
                    found.append((identity, like, seconds))
            self._finished[kind] = (time.monotonic(), found)
        return found
