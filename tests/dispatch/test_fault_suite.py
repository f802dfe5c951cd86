"""The fault suite: what befalls clusters, at random times, again and again; nothing is lost, doubled or left behind.

Run by `make test-cluster`. Every node of an isolated testbed has a run of its own at a time, and each run a fault.
$PLUMBLINE_FAULT_ROUNDS rounds are run of every fault (20), $PLUMBLINE_FAULT_SEED draws the times.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.cluster.node.agent import HEARTBEAT_SECONDS
from engine.cluster.testbed import Testbed
from engine.dispatch import lifecycle
from engine.dispatch.lock import holder
from engine.errors import PlumblineError
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, series
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.telemetry.states import State

NODES = 8
ROUNDS = int(os.environ.get("PLUMBLINE_FAULT_ROUNDS", "20"))
SEED = int(os.environ.get("PLUMBLINE_FAULT_SEED", "0"))
STEPS, STEP_SECONDS = 600, 0.05  # half a minute of steps
LONGEST_SECONDS = 420.0  # of a round

SPEC = """
kind: sim
steps: {steps}
step_seconds: {step_seconds}
checkpoint_every: 10
placement: {{slots: 2}}
supervision: {{lost_after: {lost_after}, retries: 3}}
"""

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(5400)]


@dataclass
class Cluster:
    """The testbed, the database and its dispatcher."""

    testbed: Testbed
    folder: Path
    written: threading.Lock = field(default_factory=threading.Lock)  # one database fault at a time

    @property
    def database(self) -> Path:
        return self.folder / "experiments.db"

    def open(self) -> Store:
        return Store.open(self.database)

    def wake(self) -> None:
        lifecycle.ensure_running(self.database)


@dataclass
class Round:
    """One run on one node, and what befalls it."""

    cluster: Cluster
    node: int
    random: random.Random
    store: Store
    identity: str = ""
    lost_after: str = "600"
    allowed: frozenset[State] = frozenset({State.SUCCEEDED})

    def launch(self) -> None:
        spec = parse_spec(SPEC.format(steps=STEPS, step_seconds=STEP_SECONDS, lost_after=self.lost_after))
        hosts = self.cluster.testbed.hostfile.read_text(encoding="utf-8").splitlines()
        own = [line for line in hosts if line.startswith("#") or line.startswith(f"node-{self.node} ")]
        own = [line for line in own if "[node-" not in line or f"[node-{self.node}]" in line]
        self.identity = experiments.create(self.store, spec, hostfile_text="\n".join(own) + "\n")
        self.cluster.wake()

    def get(self) -> Experiment:
        return experiments.get(self.store, self.identity)

    def until(self, holds: Callable[[], object], what: str, seconds: float = LONGEST_SECONDS) -> None:
        give_up = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > give_up:
                log = lifecycle.log_path(self.cluster.database).read_text(encoding="utf-8")[-3000:]
                raise AssertionError(f"node-{self.node}, {self.identity}: not {what}: {self.get()}\n{log}")
            time.sleep(0.05)

    def until_some_step(self) -> None:
        """Wait until a random time of the run."""
        step = self.random.randint(1, STEPS // 2)
        self.until(lambda: self.get().step >= step or self.get().state.ended, "under way")
        time.sleep(self.random.random() * STEP_SECONDS)

    def run_dir(self) -> Path:
        path = Path(attempts.list_attempts(self.store, self.identity)[-1].run_dir)
        return self.cluster.testbed.disk(self.node) / path.name

    def processes(self, *words: str) -> list[int]:
        """The detached programs of the run's node whose command line has all the words."""
        living = self.cluster.testbed.processes(self.node)
        return [each.pid for each in living if not each.attached and all(word in each.command for word in words)]

    def kill(self, *words: str, some: bool = False) -> None:
        pids = self.processes(*words)
        assert pids, "the fault came too late: nothing runs any more"
        if some and pids:
            pids = [self.random.choice(pids)]
        self.cluster.testbed.signal(self.node, pids, signal.SIGKILL)

    def pause(self, longest: float = 3.0) -> None:
        time.sleep(self.random.uniform(0.1, longest))

    def check(self) -> None:
        """What must hold after every fault."""
        self.until(lambda: self.get().state.ended, "ended")
        found = self.get()
        assert found.state in self.allowed, (found.state, found.reason)
        self.until(lambda: not self.processes(), f"without orphans: {self.cluster.testbed.processes(self.node)}", 60.0)
        self.until(self._nothing_remains, "cleared", 90.0)
        steps = list(series.read(self.store, self.identity, "loss").step)
        assert len(steps) == len(set(steps)), "a step stands twice"
        if found.state is State.SUCCEEDED:
            assert steps == list(range(1, STEPS + 1)), f"steps are missing: {set(range(1, STEPS + 1)) - set(steps)}"
        else:
            assert set(steps) == self._logged_steps(), "the database has other steps than the node logged"
        again = Round(self.cluster, self.node, self.random, self.store)
        again.free_slots()

    def _nothing_remains(self) -> bool:
        return all(contact.cleared for contact in attempts.contacts(self.store, self.identity))

    def _logged_steps(self) -> set[int]:
        lines = (self.run_dir() / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        found = set()
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # half a line, of which only the worker knows
            if record.get("kind") == "metrics":
                found.add(int(record["step"]))
        return found

    def free_slots(self) -> None:
        """A short run takes all slots of the node at once."""
        text = SPEC.format(steps=1, step_seconds=0.01, lost_after="600").replace("slots: 2", "slots: 8")
        hosts = self.cluster.testbed.hostfile.read_text(encoding="utf-8").splitlines()
        own = [line for line in hosts if line.startswith("#") or line.startswith(f"node-{self.node} ")]
        own = [line for line in own if "[node-" not in line or f"[node-{self.node}]" in line]
        self.identity = experiments.create(self.store, parse_spec(text), hostfile_text="\n".join(own) + "\n")
        self.cluster.wake()
        self.until(lambda: self.get().state.ended, "started on all slots", 90.0)
        assert self.get().state is State.SUCCEEDED, self.get()


def ssh_daemon_killed(now: Round) -> None:
    now.cluster.testbed.stop_node(now.node)
    now.pause()
    now.cluster.testbed.start_node(now.node)


def link_cut(seconds: float, now: Round) -> None:
    now.cluster.testbed.cut(now.node)
    time.sleep(seconds)
    now.cluster.testbed.mend(now.node)


def link_cut_for_good(now: Round) -> None:
    """The run is lost, and its slots are not free before what it left is ended: that is when the link is back."""
    now.cluster.testbed.cut(now.node)
    now.until(lambda: now.get().state in (State.QUEUED, State.LOST), "lost")
    now.cluster.testbed.mend(now.node)


def worker_killed(now: Round) -> None:
    now.kill("engine.cluster.simulation", some=True)


def agent_killed(now: Round) -> None:
    now.kill("agent.pyz")


def dispatcher_killed(now: Round) -> None:
    held = holder(now.cluster.database)
    if held is not None:
        os.kill(held.pid, signal.SIGKILL)
    now.pause(2.0)
    now.cluster.wake()


def disk_full(now: Round) -> None:
    now.cluster.testbed.fill_disk(now.node)
    now.pause(6.0)
    now.cluster.testbed.free_disk(now.node)


def database_locked(now: Round) -> None:
    with now.cluster.written:
        connection = sqlite3.connect(now.cluster.database, timeout=30.0, isolation_level=None)
        try:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(10.0)
            connection.execute("ROLLBACK")
        finally:
            connection.close()


def metrics_line_half_written(now: Round) -> None:
    """The worker dies in the middle of a line."""
    now.kill("engine.cluster.simulation")
    with (now.run_dir() / "metrics.jsonl").open("ab") as file:
        file.write(b'{"kind":"metrics","time":17')


def clock_moved(now: Round) -> None:
    now.cluster.testbed.shift_clock(now.node, now.random.choice([-3600.0, 3600.0]))
    now.pause(HEARTBEAT_SECONDS * 4)
    if now.random.random() < 0.5:
        now.cluster.testbed.shift_clock(now.node, 0.0)


FAULTS: dict[str, tuple[Callable[[Round], None], str]] = {
    "SSH daemon killed": (ssh_daemon_killed, "600"),
    "link cut for 5 s": (functools.partial(link_cut, 5.0), "600"),
    "link cut for 60 s": (functools.partial(link_cut, 60.0), "600"),
    "link cut for good": (link_cut_for_good, "8"),
    "worker kill -9": (worker_killed, "600"),
    "agent kill -9": (agent_killed, "600"),
    "dispatcher kill -9": (dispatcher_killed, "600"),
    "node's disk full": (disk_full, "600"),
    "database locked for 10 s": (database_locked, "600"),
    "metrics line half written": (metrics_line_half_written, "600"),
    "clock moved by an hour": (clock_moved, "600"),
}
# A run may end by a full disk: what it must keep then cannot be kept.
MAY_FAIL = {"node's disk full": frozenset({State.SUCCEEDED, State.FAILED})}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for reason in (Testbed.can_isolate(), Testbed.can_move_clocks()):
        if reason is not None:
            pytest.skip(f"the fault suite needs isolated nodes with clocks: {reason}")
    folder = tmp_path_factory.mktemp("cluster")
    started = {"nodes": NODES, "slots": 8, "workdir": folder / "work", "isolated": True, "disk_mb": 64, "clocks": True}
    with Testbed.start(folder / "testbed", **started) as testbed:
        found = Cluster(testbed, folder)
        found.open().close()
        yield found
        lifecycle.stop(found.database)


def test_every_fault_at_random_times_loses_nothing_and_leaves_nothing_behind(cluster: Cluster) -> None:
    rounds = [(name, number) for name in FAULTS for number in range(ROUNDS)]
    random.Random(SEED).shuffle(rounds)
    free: queue.SimpleQueue[int] = queue.SimpleQueue()
    for node in range(1, NODES + 1):
        free.put(node)
    survived: Counter[str] = Counter()
    problems: list[str] = []

    def play(name: str, number: int) -> None:
        node = free.get()
        fault, lost_after = FAULTS[name]
        store = cluster.open()
        try:
            now = Round(cluster, node, random.Random(f"{SEED} {name} {number}"), store, lost_after=lost_after)
            now.allowed = MAY_FAIL.get(name, now.allowed)
            now.launch()
            now.until_some_step()
            fault(now)
            now.check()
            survived[name] += 1
        except (AssertionError, PlumblineError, OSError) as error:
            problems.append(f"{name}, round {number}, on node-{node}: {error}")
        finally:
            store.close()
            cluster.testbed.mend(node)
            cluster.testbed.free_disk(node)
            cluster.testbed.shift_clock(node, 0.0)
            free.put(node)

    began = time.monotonic()
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(lambda each: play(*each), rounds))
    width = max(map(len, FAULTS))
    print(f"\n{'FAULT':<{width}}  TRIED  SURVIVED")
    for name in FAULTS:
        print(f"{name:<{width}}  {ROUNDS:>5}  {survived[name]:>8}")
    print(f"{len(rounds)} rounds on {NODES} nodes in {time.monotonic() - began:.0f} s, seed {SEED}")
    assert not problems, "\n\n".join(problems)
