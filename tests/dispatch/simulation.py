"""A cluster on a simulated clock, served by the real scheduler."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from engine.dispatch.placement import Candidate, Want
from engine.dispatch.scheduling import Begin, NodeStanding, Queued, Running, verdicts
from engine.dispatch.turns import Turn, turn_of
from engine.telemetry.states import Desired

HOUR = 3600.0
PACE_SECONDS = 300.0  # a run has trained for so long before its pace tells its end
SIZES = {(1, 1): 25, (1, 2): 20, (1, 4): 20, (1, None): 20, (2, None): 10, (4, None): 5}  # nodes, slots: weight


class Known(StrEnum):
    """What the scheduler is told of durations."""

    EXACT = "exact"
    ROUGH = "±50 %, then by pace"  # wrong by up to half while it waits; a run that trains tells its end
    WRONG = "±50 % for good"
    PACE = "by pace alone"  # nothing while it waits
    NEVER = "never"


@dataclass
class Job:
    """A run, what is said of it, and what became of it."""

    id: str
    want: Want
    seconds: float
    created_at: float = 0.0
    priority: int = 0
    said: float | None = None  # how long it is said to last while it is queued
    told: float | None = None  # … and once it has trained for a while
    began_at: float = math.nan
    slots: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def turn(self) -> Turn:
        return turn_of(self.id, self.priority, self.created_at)

    @property
    def ends_at(self) -> float:
        return self.began_at + self.seconds

    @property
    def size(self) -> int:
        return sum(len(slots) for slots in self.slots.values())

    def running(self, now: float) -> Running:
        seconds = self.told if now - self.began_at >= PACE_SECONDS else self.said
        ends_at = None if seconds is None else self.began_at + seconds
        return Running(self.id, self.slots, self.began_at, ends_at, self.want.share, self.turn, self.said)

    def queued(self) -> Queued:
        return Queued(self.id, Desired.RUN, {}, self.priority, self.created_at, self.want, seconds=self.said)


@dataclass(frozen=True)
class Outcome:
    """How the cluster fared."""

    busy: float  # share of the slots that were held, while at least one run waited
    milliseconds: float  # of a look at the queue, on average
    slowest: float  # milliseconds
    ended_at: float


def nodes(count: int = 8, slots: int = 8) -> tuple[Candidate, ...]:
    """Return node-1, node-2, …"""
    return tuple(Candidate(f"node-{number}", f"node-{number}", slots) for number in range(1, count + 1))


def workload(seed: int, known: Known, *, count: int = 200, cluster: Sequence[Candidate] | None = None) -> list[Job]:
    """Return runs of 10 minutes to 4 hours, from one slot to four whole nodes, queued about a minute apart."""
    chance = random.Random(seed)
    candidates = tuple(cluster or nodes())
    jobs, now = [], 0.0
    for number in range(count):
        now += chance.expovariate(1 / 60)
        size, slots = chance.choices(list(SIZES), list(SIZES.values()))[0]
        seconds, wrong = chance.uniform(600, 4 * HOUR), chance.uniform(0.5, 1.5)
        said = {Known.EXACT: seconds, Known.ROUGH: seconds * wrong, Known.WRONG: seconds * wrong}.get(known)
        told = {Known.WRONG: said, Known.NEVER: None}.get(known, seconds)
        jobs.append(Job(f"sft-{number:04}", Want(candidates, size, size, slots), seconds, now, 0, said, told))
    return jobs


def simulate(jobs: Iterable[Job], standing: dict[str, NodeStanding] | None = None) -> Outcome:
    """Run them all, and fill in when and where each began. No slot may be held twice."""
    jobs = list(jobs)
    cluster = {candidate.key: candidate.slots for job in jobs for candidate in job.want.candidates}
    events = [(job.created_at, number) for number, job in enumerate(jobs)]
    heapq.heapify(events)
    waiting: dict[str, Job] = {}
    running: dict[str, Job] = {}
    now = held = wanted = used = 0.0
    looks: list[float] = []
    while events:
        before, now = now, events[0][0]
        if waiting:
            wanted += (now - before) * sum(cluster.values())
            used += (now - before) * held
        while events and events[0][0] <= now:
            job = jobs[heapq.heappop(events)[1]]
            if running.pop(job.id, None) is not None:
                held -= job.size
            else:
                waiting[job.id] = job
        began = time.perf_counter()
        found = verdicts(
            [job.queued() for job in waiting.values()],
            standing or {},
            [job.running(now) for job in running.values()],
            now,
        )
        looks.append(1000 * (time.perf_counter() - began))
        for identity, verdict in found.items():
            if isinstance(verdict, Begin):
                job = running[identity] = waiting.pop(identity)
                job.began_at, job.slots = now, {seat.host: seat.slot_numbers for seat in verdict.seats}
                held += job.size
                heapq.heappush(events, (job.ends_at, jobs.index(job)))
        taken = [(key, slot) for job in running.values() for key, slots in job.slots.items() for slot in slots]
        assert len(taken) == len(set(taken)), "a slot is held twice"
    assert not waiting, f"{sorted(waiting)} never began"
    return Outcome(used / wanted if wanted else 1.0, sum(looks) / len(looks), max(looks), now)


def overtaken(jobs: Sequence[Job]) -> int:
    """Return by how many younger runs one was overtaken at most."""
    return max(sum(other.turn > job.turn and other.began_at < job.began_at for other in jobs) for job in jobs)


def longest_wait(jobs: Iterable[Job]) -> float:
    """Return the seconds that a run waited at most."""
    return max(job.began_at - job.created_at for job in jobs)
