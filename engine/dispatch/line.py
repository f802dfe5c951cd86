"""The line of queued experiments: who begins now, and what the others are told."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from engine.cluster.hostfile import Node
from engine.cluster.link import NodeLink
from engine.dispatch import reasons
from engine.dispatch.estimates import alike, expected_seconds
from engine.dispatch.faults import pause_seconds
from engine.dispatch.homes import hostfile_of
from engine.dispatch.nodes import Nodes
from engine.dispatch.placement import Seat, Want, from_rows, node_key, want_of, world_size
from engine.dispatch.run import Run
from engine.dispatch.scheduling import Begin, GiveUp, NodeStanding, Queued, Running, verdicts
from engine.dispatch.turns import turn_of
from engine.errors import ExitCode, PlumblineError
from engine.spec.models import AnySpec, SimSpec
from engine.store import attempts, dependents, events, experiments
from engine.store.attempts import Attempt
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.store.remaining import seconds_left
from engine.telemetry.states import State

_RECENT_EVENTS = 100  # among which the last words of an attempt are
_ESTIMATE_SECONDS = 120.0  # between two looks at how long runs like a queued one took


@dataclass(slots=True)
class _Waiting:
    """What a queued run asks for; worked out once for a spec and an attempt, however long it waits."""

    spec: AnySpec
    want: Want
    nodes: tuple[Node, ...]
    seconds: float | None = None  # how long it is expected to last
    estimated_at: float = float("-inf")
    unreachable_since: float | None = None


class Line:
    """Serves the queue."""

    def __init__(self, store: Store, nodes: Nodes) -> None:
        self._store, self._nodes = store, nodes
        self._waiting: dict[tuple[str, str, int], _Waiting] = {}
        self._expected: dict[str, float | None] = {}  # how long what began was expected to last
        self._begun: dict[str, Attempt] = {}  # what runs: its newest attempt, since that began to train
        self.length = 0
        self.links: set[NodeLink] = set()  # to the nodes that somebody waits for

    def serve(
        self,
        unfinished: Sequence[Experiment],
        runs: Mapping[str, Run],
        left: Mapping[str, Mapping[str, Sequence[int]]],
    ) -> dict[str, tuple[Seat, ...]]:
        """Return the seats of those that begin now; tell the others why they wait, and end those that cannot begin.

        Args:
            unfinished: the experiments that wait or run.
            runs: what is under way.
            left: slots that something of an ended attempt may still hold, by who that is and by node key.
        """
        now = time.time()
        queued = {each.id: each for each in unfinished if each.state is State.QUEUED and each.id not in runs}
        self.length = len(queued)
        waiting: dict[tuple[str, str, int], _Waiting] = {}
        by_id: dict[str, _Waiting] = {}
        for experiment in queued.values():
            key = (experiment.id, experiment.spec_hash, experiment.attempts)
            try:
                each = waiting[key] = by_id[experiment.id] = self._waiting.get(key) or self._ask(experiment)
            except PlumblineError as error:
                self._give_up(experiment.id, GiveUp(State.FAILED, error.exit_code, str(error)))
                continue
            self._estimate(each)
        self._waiting = waiting
        self.links = {self._nodes.link(node) for each in waiting.values() for node in each.nodes}
        standing = self._nodes.standing()
        asked, parents = [], dependents.dependencies(self._store)
        for identity, each in by_id.items():
            if not self._away(queued[identity], each, standing, now):
                asked.append(self._queued(queued[identity], each, parents))
        running = [self._running(run, experiment, now) for experiment in unfinished if (run := runs.get(experiment.id))]
        running += [Running(name, slots, began_at=now) for name, slots in left.items()]
        begins: dict[str, tuple[Seat, ...]] = {}
        for identity, verdict in verdicts(asked, standing, running, now).items():
            if isinstance(verdict, Begin):
                begins[identity] = verdict.seats
                self._expected[identity] = by_id[identity].seconds
            elif isinstance(verdict, GiveUp):
                self._give_up(identity, verdict)
            else:
                self._tell(queued[identity], verdict.reason)
        return begins

    def _ask(self, experiment: Experiment) -> _Waiting:
        """Return what a queued run asks for.

        After a fault it goes on where it was, unless it may go elsewhere. So does every run that left something on
        nodes which share no work directory.
        """
        spec = experiments.get_spec(self._store, experiment.id)
        hostfile = hostfile_of(self._store, experiment.id)
        nodes = hostfile.nodes
        if hostfile.slurm is not None:
            # Slurm has a queue of its own: all go into it at once, as if each shared with all.
            want = want_of(nodes, spec.placement)
            candidates = tuple(replace(each, key=f"Slurm's {each.host}") for each in want.candidates)
            return _Waiting(spec, replace(want, candidates=candidates, share=True), (hostfile.slurm.login,))
        placement, avoid = spec.placement, frozenset[str]()
        if experiment.attempts:
            last = attempts.list_attempts(self._store, experiment.id)[-1]
            hosts = {seat.host for seat in from_rows(last.placement)}
            apart = not all(node.shared or node.is_local for node in nodes) and len(nodes) > 1
            if apart or (experiment.faults and not spec.supervision.elastic):
                nodes = tuple(node for node in nodes if node.host in hosts)
                placement = placement.model_copy(update={"nodes": len(nodes), "min_nodes": None})
            elif experiment.faults:
                placement = placement.model_copy(update={"min_nodes": placement.min_nodes or 1})
                failed = self._failed_hosts(experiment.id, last.number)
                avoid = frozenset(node_key(node) for node in nodes if node.host in failed)
        return _Waiting(spec, want_of(nodes, placement, avoid), nodes)

    def _failed_hosts(self, identity: str, attempt: int) -> set[str]:
        """Return the hosts of an attempt on which a rank failed, or that were lost."""
        lost = {
            each.host for each in attempts.contacts(self._store, identity) if each.attempt == attempt and each.message
        }
        told = events.list_events(self._store, identity, newest=True, limit=_RECENT_EVENTS)
        failed = {
            str(each.data.get("host")) for each in told if each.event == "rank_failed" and each.attempt == attempt
        }
        return lost | failed

    def _estimate(self, waiting: _Waiting) -> None:
        """Look how long runs like it took."""
        now = time.monotonic()
        if now - waiting.estimated_at < _ESTIMATE_SECONDS:
            return
        waiting.estimated_at = now
        want = waiting.want
        ranks = sum(want.slots_on(candidate) for candidate in want.candidates[: want.most])
        finished = []
        if not isinstance(waiting.spec, SimSpec):
            for identity, placement, seconds in attempts.finished(self._store, waiting.spec.kind):
                like = alike(experiments.get_spec(self._store, identity), world_size(from_rows(placement)))
                if like is not None:
                    finished.append((like, seconds))
        waiting.seconds = expected_seconds(waiting.spec, ranks, finished)

    @staticmethod
    def _queued(experiment: Experiment, waiting: _Waiting, parents: Mapping[str, Mapping[str, State]]) -> Queued:
        return Queued(
            experiment.id,
            experiment.desired,
            parents.get(experiment.id, {}),
            experiment.priority,
            _queued_at(experiment),
            waiting.want,
            not_before=experiment.not_before,
            not_before_reason=experiment.reason,
            seconds=waiting.seconds,
        )

    def _running(self, run: Run, experiment: Experiment, now: float) -> Running:
        given = () if run.slurm is not None else run.seated
        slots = {node_key(seated.node): seated.seat.slot_numbers for seated in given}
        left = seconds_left(experiment, self._newest(run, experiment), now)
        ends_at = None if left is None else now + left
        turn = turn_of(experiment.id, experiment.priority, _queued_at(experiment))
        seconds = self._expected.get(run.experiment)
        return Running(run.experiment, slots, run.began_at, ends_at, run.spec.placement.share, turn, seconds)

    def _newest(self, run: Run, experiment: Experiment) -> Attempt | None:
        """Return the attempt that runs; it is read once. Null before it trains."""
        known = self._begun.get(run.experiment)
        if known is not None and known.number == run.number:
            return known
        if experiment.state is not State.RUNNING:
            return None
        newest = attempts.list_attempts(self._store, run.experiment)[-1]
        if newest.started_at is not None:
            self._begun[run.experiment] = newest
        return newest

    def _away(
        self, experiment: Experiment, waiting: _Waiting, standing: Mapping[str, NodeStanding], now: float
    ) -> bool:
        """Whether it cannot begin for nodes that cannot be reached; it is told so, tried again, and at last it fails.

        One that has run waits for its nodes as long as its spec says; one that has not is likely to have a wrong host.
        """
        want = waiting.want
        fit = [each for each in want.candidates if want.fits_on(each)]
        found = [standing.get(each.key, NodeStanding()) for each in fit]
        open_ = [each for each in found if not each.drained]
        reachable = [each for each in open_ if each.unreachable is None]
        if len(reachable) >= want.fewest or len(open_) < want.fewest:
            waiting.unreachable_since = None
            return False
        if experiment.not_before is not None and experiment.not_before > now:
            return False  # told already
        host, why = next(
            (each.host, how.unreachable)
            for each, how in zip(fit, found, strict=True)
            if how.unreachable is not None and not how.drained
        )
        told = f"{host} cannot be reached: {why}"
        supervision = waiting.spec.supervision
        if experiment.started_at is None:
            faults = experiment.faults + 1
            if faults > supervision.retries or self._nodes.is_barred(host):
                self._give_up(experiment.id, GiveUp(State.FAILED, ExitCode.UNREACHABLE, told))
            else:
                at = now + pause_seconds(faults)
                reason = reasons.tries_again(at, faults, supervision.retries, told)
                experiments.postpone(self._store, experiment.id, reason=reason, not_before=at, faults=faults)
            return True
        if waiting.unreachable_since is None:
            waiting.unreachable_since = now
        away = now - waiting.unreachable_since
        if supervision.lost_after is not None and away > supervision.lost_after:
            self._give_up(experiment.id, GiveUp(State.LOST, ExitCode.RUN_FAILED, told))
            return True
        return False  # the scheduler says that it waits

    def _tell(self, experiment: Experiment, reason: str) -> None:
        if experiment.reason != reason:
            experiments.set_state(self._store, experiment.id, State.QUEUED, reason=reason)

    def _give_up(self, identity: str, end: GiveUp) -> None:
        experiments.set_state(
            self._store, identity, end.state, reason=end.reason, exit_code=end.exit_code, for_want_of=end.parent
        )


def _queued_at(experiment: Experiment) -> float:
    return experiment.created_at if experiment.queued_at is None else experiment.queued_at
