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
from collections.abc import Collection
from pathlib import Path

from engine.cluster.checking import here
from engine.cluster.dial import connect
from engine.cluster.hostfile import Node
from engine.cluster.link import Frame, LinkDown, LinkUp, Message, NodeLink
from engine.dispatch import placement
from engine.dispatch.collection import collect
from engine.dispatch.fitting import place_at, require_fit
from engine.dispatch.holder import holder_of
from engine.dispatch.homes import homes, hostfile_of, nodes_of
from engine.dispatch.inputs import resolve_references
from engine.dispatch.leftovers import Leftovers
from engine.dispatch.line import Line
from engine.dispatch.lock import DispatcherLock
from engine.dispatch.nodes import Nodes
from engine.dispatch.placement import Seat
from engine.dispatch.run import Run
from engine.errors import ExitCode, NotFound, PlumblineError
from engine.spec.references import references_of
from engine.store import attempts, experiments, inputs
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.telemetry.states import State

TICK_SECONDS = 0.1
GATHER_SECONDS = 0.03  # after the first message of a turn, for those that come together
STEP_SECONDS = 0.25  # between two steps of a run of which nothing is heard
SOON_SECONDS, LOOK_SECONDS = 0.2, 1.0  # the least and the most between two looks at the database
BLOCKED_SECONDS = 3.0  # before facts are written again, when they could not be
LINGER_SECONDS = 3.0  # without anything to do, before it leaves
_MOST_MESSAGES = 256  # taken in before the next step
_INBOX = 1024  # messages that wait; a full inbox slows the links down, and so the nodes' sending


class Dispatcher:
    """The loop over runs and nodes. Single-threaded; only the links and what they carry have threads."""

    def __init__(self, store: Store, lock: DispatcherLock) -> None:
        self._store, self._lock = store, lock
        self._inbox: queue.Queue[Message] = queue.Queue(_INBOX)
        self._holder = holder_of(store.path)
        self._nodes = Nodes(store, self._inbox, connect, self._holder["database"])
        self._leftovers = Leftovers(store, self._nodes.link, _complain)
        self._line = Line(store, self._nodes)
        self._here = here()
        self._runs: dict[str, Run] = {}
        self._version, self._looked_at = -1, 0.0  # of the database, when it was last looked at
        self._blocked_until = 0.0  # facts could not be written
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
                if self._runs or self._line.length or self._leftovers.pressing:
                    busy_at = time.monotonic()
                elif time.monotonic() - busy_at > LINGER_SECONDS and self._may_leave():
                    break
            except PlumblineError as error:
                # A full disk, say. What runs goes on, and what it writes waits on its nodes.
                _complain(str(error))
                if not self._store.path.exists():
                    break
                time.sleep(LOOK_SECONDS)
        self._nodes.close()

    def _turn(self) -> None:
        self._receive()
        version, since = self._store.data_version(), time.monotonic() - self._looked_at
        if since > LOOK_SECONDS or (version != self._version and since > SOON_SECONDS):
            self._look()
            self._version, self._looked_at = version, time.monotonic()
        self._collect()
        now = time.monotonic()
        for identity, run in list(self._runs.items()):
            if run.has_news or now - run.stepped_at > STEP_SECONDS:
                run.has_news, run.stepped_at = False, now
                self._step(identity, run)
        self._leftovers.step()
        used = {link for run in self._runs.values() for link in run.links}
        self._nodes.keep(used | self._leftovers.links | self._line.links)

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
            time.sleep(GATHER_SECONDS)
            for _ in range(_MOST_MESSAGES):
                self._take(message)
                message = self._inbox.get_nowait()
            self._take(message)
        except queue.Empty:
            pass

    def _take(self, message: Message) -> None:
        link = message.link
        link.take(message)
        self._nodes.take(message)
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
        reply = header.get("reply")
        try:
            key = header.get("run") if reply is None else reply[0]
            if key is None or key == "node":
                return  # a beat, or about the node itself
            if key == "left":
                self._leftovers.hear(str(header["reply"][1]), header)
                return
            identity, number, index = str(key).split("/")
            run = self._runs.get(identity)
            if run is not None and run.number == int(number):
                run.hear(int(index), header, frame.data)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            _complain(f"{frame.link.node.host} sent what no companion sends: {error!r}")

    def _collect(self) -> None:
        if time.monotonic() < self._blocked_until:
            return
        runs = [run for run in self._runs.values() if run.has_facts or run.is_here]
        try:
            if collect(self._store, [run.collection for run in runs]):
                for run in runs:
                    run.has_facts = False
        except PlumblineError as error:
            self._blocked_until = time.monotonic() + BLOCKED_SECONDS
            _complain(str(error))

    def _look(self) -> None:
        """Read what should be: take on what is under way, begin what may begin."""
        unfinished = experiments.unfinished(self._store)
        known = {experiment.id for experiment in unfinished}
        for identity in [identity for identity in self._runs if identity not in known]:
            self._runs.pop(identity).release()
        for experiment in unfinished:
            if experiment.state is not State.QUEUED:
                self._take_on(experiment)
        self._leftovers.look()
        for identity, seats in self._line.serve(unfinished, self._runs, self._leftovers.held()).items():
            self._begin(experiments.get(self._store, identity), seats)

    def _take_on(self, experiment: Experiment) -> None:
        run = self._runs.get(experiment.id)
        if run is None:
            attempt = attempts.list_attempts(self._store, experiment.id)[-1]
            try:
                nodes = nodes_of(self._store, experiment.id)
                seats = [(seat, nodes[seat.host]) for seat in placement.from_rows(attempt.placement)]
                run = Run(
                    self._store,
                    experiment=experiment,
                    attempt=attempt,
                    spec=experiments.get_spec(self._store, experiment.id),
                    seats=[(seat, node, self._nodes.link(node)) for seat, node in seats],
                    others=self._makers(experiment.id, {node.host for _, node in seats}),
                    nodes=self._nodes,
                    here=self._here,
                    holder=self._holder,
                    complain=_complain,
                    slurm=hostfile_of(self._store, experiment.id).slurm,
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

    def _makers(self, identity: str, own: Collection[str]) -> list[tuple[Node, NodeLink]]:
        """Return the nodes on which lies what an experiment takes from others, but its own ones."""
        found: dict[str, Node] = {}
        for taken in inputs.inputs_of(self._store, identity):
            try:
                made_on = homes(self._store, taken.input.parent_id)
            except NotFound:
                continue  # it was deleted; what it made may be there still
            found |= {node.host: node for node in made_on[:1] if node.host not in own}
        return [(node, self._nodes.link(node)) for node in found.values()]

    def _begin(self, experiment: Experiment, seats: tuple[Seat, ...]) -> None:
        if not self._settled(experiment, seats):
            return
        earlier = attempts.list_attempts(self._store, experiment.id)
        nodes = nodes_of(self._store, experiment.id)
        run_dir = earlier[0].run_dir if earlier else self._run_dir(experiment, [nodes[seat.host] for seat in seats])
        attempts.begin(self._store, experiment.id, run_dir=run_dir, placement=placement.to_rows(seats))
        self._take_on(experiments.get(self._store, experiment.id))

    def _settled(self, experiment: Experiment, seats: tuple[Seat, ...]) -> bool:
        """Whether all that it takes from others is known; what was still to be made at the launch is looked up now.

        One whose inputs were not made, or that they do not fit, ends here.
        """
        spec = experiments.get_spec(self._store, experiment.id)
        if not references_of(spec):
            return True
        try:
            hosts = hostfile_of(self._store, experiment.id)
            spec, taken = resolve_references(self._store, spec, hosts)
            if not experiment.forced:
                require_fit(spec, place_at(hosts, seats), where=experiment.id)
        except PlumblineError as error:
            code = error.exit_code
            experiments.set_state(self._store, experiment.id, State.FAILED, reason=str(error), exit_code=code)
            return False
        experiments.settle(self._store, experiment.id, spec, taken)
        return True

    def _run_dir(self, experiment: Experiment, nodes: list[Node]) -> str:
        """Return where a run lives on its nodes: on this machine alone beside the database, so nothing is copied."""
        if all(node.is_local for node in nodes) and nodes[0].workdir is None:
            return str(self._store.runs_dir / experiment.id)
        # Two databases may use one cluster: the number alone would not do.
        born = int(experiment.created_at * 1000)
        return f"{nodes[0].workdir or '~/plumbline'}/{experiment.id}-{born % 16**6:06x}"

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
            self._looked_at = 0.0  # what waited for its slots begins now


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
