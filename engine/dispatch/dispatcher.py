"""The dispatcher: makes what runs equal to what should run. One process a database; `lifecycle` starts it.

It is level-triggered: look at the database, look at the nodes, take one step, again. It keeps nothing of its own, so
that it may be killed at any moment.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

from engine.cluster.dial import connect
from engine.cluster.hostfile import Hostfile, Node, local_hostfile, parse_hostfile
from engine.cluster.link import Frame, LinkDown, LinkUp, Message, NodeLink
from engine.dispatch import placement
from engine.dispatch.lock import DispatcherLock
from engine.dispatch.placement import Seat
from engine.dispatch.queueing import Begin, GiveUp, Queued, verdicts
from engine.dispatch.run import Run
from engine.errors import ExitCode, NotFound, PlumblineError
from engine.spec.references import require_none
from engine.store import attempts, experiments
from engine.store.database import Store
from engine.store.experiments import Experiment
from engine.telemetry.states import State

TICK_SECONDS = 0.1
LOOK_SECONDS = 1.0  # the longest between two looks at the database, whether it changed or not
LINGER_SECONDS = 3.0  # without anything to do, before it leaves
_MOST_MESSAGES = 256  # taken in before the next step
_INBOX = 1024  # messages that wait; a full inbox slows the links down, and so the nodes' sending


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where a queued run goes."""

    spec_hash: str
    seats: tuple[Seat, ...]
    nodes: tuple[Node, ...]  # of the seats


class Dispatcher:
    """The loop over runs and nodes. Single-threaded; only the links have threads."""

    def __init__(self, store: Store, lock: DispatcherLock) -> None:
        self._store, self._lock = store, lock
        self._inbox: queue.Queue[Message] = queue.Queue(_INBOX)
        self._links: dict[tuple[Any, ...], NodeLink] = {}
        self._runs: dict[str, Run] = {}
        self._plans: dict[str, _Plan] = {}  # of the queue
        self._waiting = 0
        self._version, self._looked_at = -1, 0.0  # of the database, when it was last looked at
        self._asked_to_leave = False

    def leave(self) -> None:
        """End the loop soon; what runs goes on."""
        self._asked_to_leave = True

    def serve(self) -> None:
        """Work until there is nothing to do, or until asked to leave."""
        busy_at = time.monotonic()
        while not self._asked_to_leave:
            try:
                self._turn()
                if self._runs or self._waiting:
                    busy_at = time.monotonic()
                elif time.monotonic() - busy_at > LINGER_SECONDS and self._may_leave():
                    break
            except PlumblineError as error:
                # A full disk, say. What runs goes on, and what it writes waits on its nodes.
                _complain(str(error))
                if not self._store.path.exists():
                    break
                time.sleep(LOOK_SECONDS)
        for link in self._links.values():
            link.close()
        for link in self._links.values():
            link.join(2.0)

    def _turn(self) -> None:
        self._receive()
        version, now = self._store.data_version(), time.monotonic()
        if version != self._version or now - self._looked_at > LOOK_SECONDS:
            self._look()
            self._version, self._looked_at = version, now
        for identity, run in list(self._runs.items()):
            self._step(identity, run)
        self._drop_links()

    def _may_leave(self) -> bool:
        """Say that it leaves, and look once more: whoever wrote before that and saw it stay must not wait for ever."""
        self._lock.tell(leaving=True)
        if not experiments.unfinished(self._store):
            return True
        self._lock.tell(leaving=False)
        return False

    def _receive(self) -> None:
        """Take in what the nodes sent; wait a tick for the first message."""
        try:
            message = self._inbox.get(timeout=TICK_SECONDS)
            for _ in range(_MOST_MESSAGES):
                self._take(message)
                message = self._inbox.get_nowait()
            self._take(message)
        except queue.Empty:
            pass

    def _take(self, message: Message) -> None:
        link = message.link
        link.take(message)
        if isinstance(message, Frame):
            self._route(message)
            return
        for run in self._runs.values():
            if link in run.links:
                if isinstance(message, LinkUp):
                    run.link_up(link)
                elif isinstance(message, LinkDown):
                    run.link_down(link)

    def _route(self, frame: Frame) -> None:
        header = frame.header
        key = header["reply"][0] if "reply" in header else header.get("run")
        if key is None:
            return  # a beat
        try:
            identity, number, index = str(key).split("/")
            run = self._runs.get(identity)
            if run is not None and run.number == int(number):
                run.hear(int(index), header, frame.data)
        except (ValueError, LookupError, TypeError) as error:
            _complain(f"{frame.link.node.host} sent what no companion sends: {error!r}")

    def _look(self) -> None:
        """Read what should be: take on what is under way, begin what may begin."""
        unfinished = sorted(experiments.unfinished(self._store), key=lambda each: (each.created_at, each.id))
        known = {experiment.id for experiment in unfinished}
        for identity in [identity for identity in self._runs if identity not in known]:
            self._runs.pop(identity).release()
        for experiment in unfinished:
            if experiment.state is not State.QUEUED:
                self._take_on(experiment)
        queued = [experiment for experiment in unfinished if experiment.state is State.QUEUED]
        self._waiting = len(queued)
        self._serve_queue(queued)

    def _take_on(self, experiment: Experiment) -> None:
        run = self._runs.get(experiment.id)
        if run is None:
            attempt = attempts.list_attempts(self._store, experiment.id)[-1]
            try:
                nodes = {node.host: node for node in self._hostfile(experiment).nodes}
                seats = [(seat, nodes[seat.host]) for seat in placement.from_rows(attempt.placement)]
                run = Run(
                    self._store,
                    experiment=experiment.id,
                    attempt=attempt,
                    spec=experiments.get_spec(self._store, experiment.id),
                    seats=[(seat, node, self._link(node)) for seat, node in seats],
                    complain=_complain,
                )
            except (PlumblineError, KeyError) as error:
                _complain(f"{experiment.id}: {error}")
                attempts.transition(
                    self._store,
                    experiment.id,
                    attempt.number,
                    State.LOST,
                    reason=f"what the database holds of it cannot be used: {error}",
                    exit_code=ExitCode.RUN_FAILED,
                )
                return
            self._runs[experiment.id] = run
        run.desired = experiment.desired

    def _serve_queue(self, queued: list[Experiment]) -> None:
        plans: dict[str, _Plan] = {}
        asked: list[Queued] = []
        for experiment in queued:
            try:
                plan = self._plan(experiment)
            except PlumblineError as error:
                self._give_up(experiment.id, GiveUp(State.FAILED, error.exit_code, str(error)))
                continue
            plans[experiment.id] = plan
            parents = experiments.dependencies(self._store, experiment.id)
            asked.append(Queued(experiment.id, experiment.desired, parents, [seat.host for seat in plan.seats]))
        self._plans = plans
        taken = {host: identity for identity, run in self._runs.items() for host in run.hosts}
        reasons = {experiment.id: experiment.reason for experiment in queued}
        for identity, verdict in verdicts(asked, taken).items():
            if isinstance(verdict, GiveUp):
                self._give_up(identity, verdict)
            elif isinstance(verdict, Begin):
                self._begin(identity, plans[identity])
            elif reasons[identity] != verdict.reason:
                experiments.set_state(self._store, identity, State.QUEUED, reason=verdict.reason)

    def _plan(self, experiment: Experiment) -> _Plan:
        """Return where a queued run goes; worked out once for a spec, however long it waits."""
        known = self._plans.get(experiment.id)
        if known is not None and known.spec_hash == experiment.spec_hash:
            return known
        nodes = self._hostfile(experiment).nodes
        spec = experiments.get_spec(self._store, experiment.id)
        require_none(spec, experiment.id)  # they are looked up at launch; one that waits for its output would wait here
        seats = placement.place(nodes, spec.placement)
        return _Plan(experiment.spec_hash, seats, nodes[: len(seats)])

    def _begin(self, identity: str, plan: _Plan) -> None:
        earlier = attempts.list_attempts(self._store, identity)
        run_dir = earlier[0].run_dir if earlier else self._run_dir(identity, plan.nodes)
        attempts.begin(self._store, identity, run_dir=run_dir, placement=placement.to_rows(plan.seats))
        self._take_on(experiments.get(self._store, identity))

    def _run_dir(self, identity: str, nodes: Sequence[Node]) -> str:
        """Return where a run lives on its nodes: on this machine alone beside the database, so nothing is copied."""
        if all(node.is_local for node in nodes) and nodes[0].workdir is None:
            return str(self._store.runs_dir / identity)
        # Two databases may use one cluster: the number alone would not do.
        born = int(experiments.get(self._store, identity).created_at * 1000)
        return f"{nodes[0].workdir or '~/plumbline'}/{identity}-{born % 16**6:06x}"

    def _give_up(self, identity: str, end: GiveUp) -> None:
        experiments.set_state(self._store, identity, end.state, reason=end.reason, exit_code=end.exit_code)

    def _hostfile(self, experiment: Experiment) -> Hostfile:
        text = experiments.hostfile_text(self._store, experiment.id)
        return local_hostfile() if text is None else parse_hostfile(text, experiment.hostfile or "the hostfile")

    def _step(self, identity: str, run: Run) -> None:
        try:
            run.step()
        except NotFound:
            run.ended = True  # it was deleted
        except Exception:
            # A fault in one run must not end the others; it is tried again.
            _complain(f"{identity}: {traceback.format_exc()}")
        if run.ended:
            run.release()
            self._runs.pop(identity, None)

    def _link(self, node: Node) -> NodeLink:
        key = astuple(replace(node, slots=1))
        if key not in self._links:
            self._links[key] = NodeLink(node, self._inbox, connect)
            self._links[key].start()
        return self._links[key]

    def _drop_links(self) -> None:
        used = {link for run in self._runs.values() for link in run.links}
        for key, link in list(self._links.items()):
            if link not in used:
                link.close()
                del self._links[key]


def _complain(message: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}", flush=True)


def main(arguments: list[str]) -> int:
    """Run the dispatcher of the database that the one argument names, unless another process does."""
    database = Path(arguments[0])
    lock = DispatcherLock.acquire(database)
    if lock is None:
        return 0
    try:
        dispatcher = Dispatcher(Store.open(database), lock)
    except PlumblineError as error:
        _complain(str(error))
        return int(error.exit_code)
    signal.signal(signal.SIGTERM, lambda *_: dispatcher.leave())
    signal.signal(signal.SIGINT, lambda *_: dispatcher.leave())
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _complain(f"process {os.getpid()} dispatches {database}")
    dispatcher.serve()
    _complain(f"process {os.getpid()} leaves")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
