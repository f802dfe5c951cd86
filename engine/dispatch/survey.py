"""What runs, what waits and why, and how the nodes stand: as the database tells it, without asking anybody."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.dispatch import waiting
from engine.dispatch.holder import holder_of
from engine.dispatch.homes import hostfile_of
from engine.dispatch.occupancy import NodeStanding
from engine.dispatch.placement import Want, from_rows, node_key, want_of
from engine.dispatch.reasons import holder_name
from engine.dispatch.turns import Turn, turn_of
from engine.errors import PlumblineError
from engine.spec.keys import listing
from engine.spec.references import references_of
from engine.store import attempts, dependents, experiments, nodes
from engine.store.remaining import seconds_left
from engine.telemetry.states import Desired, State

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile, Node
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.experiment import Experiment
    from engine.store.nodes import NodeRecord

_PIPELINE, _STAGE = "pipeline:", "stage:"  # tags (engine.store.pipelines)
_LATELY = 120.0  # seconds; who else held slots longer ago says nothing of now
_NOT_SEEN = "the dispatcher has not looked at it yet"


@dataclass(frozen=True, slots=True)
class Asked:
    """What an unfinished run asks for. It stays so for one spec and one attempt."""

    spec: AnySpec
    hosts: Hostfile
    want: Want | None  # null: its nodes are chosen by Slurm, or it asks for more than there is


@dataclass(frozen=True, slots=True)
class OnNodes:
    """A run that holds slots."""

    experiment: Experiment
    spec: AnySpec
    slots: Mapping[str, Sequence[int]]  # by node key
    hosts: Sequence[str]
    began_at: float  # epoch seconds
    ends_at: float | None  # as expected now; null: nobody can say

    @property
    def where(self) -> str:
        """ "node-1..4, 32 slots"."""
        count = sum(map(len, self.slots.values()))
        return f"{waiting.hosts_in_words(self.hosts)}, {count} slot{'s' if count != 1 else ''}"


@dataclass(frozen=True, slots=True)
class InLine:
    """A run that waits."""

    experiment: Experiment
    asked: Asked | None  # null: its spec or hostfile cannot be read
    place: int  # in the line: 1, 2, …
    turn: Turn
    parents: Mapping[str, State]  # those that it comes after
    takes: Mapping[str, str]  # by parent: what it takes of it, "model"
    why: str  # one clause, without a full stop

    @property
    def needs(self) -> str:
        """ "4 nodes"; empty: it is not known."""
        return waiting.needed(self.asked.want) if self.asked is not None and self.asked.want is not None else ""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node that some unfinished run, or the last launch, names."""

    key: str
    host: str
    holders: Sequence[str]  # of each slot: the id of a run, who else has it, or nothing
    drained: bool
    problem: str | None  # why it is silent
    heard_at: float | None
    foreign: Mapping[int, str]  # slots that others hold
    disk_free: int | None  # bytes, where runs write
    disk_total: int | None

    @property
    def free(self) -> int:
        """Slots that a run could take now."""
        return 0 if self.drained or self.problem else sum(not holder for holder in self.holders)

    @property
    def standing(self) -> NodeStanding:
        """The same for the scheduler."""
        return NodeStanding(self.foreign, self.drained, self.problem)


@dataclass(frozen=True, slots=True)
class Stage:
    """An experiment of a pipeline's launch."""

    name: str
    experiment: Experiment


@dataclass(frozen=True, slots=True)
class Survey:
    """One look."""

    at: float  # epoch seconds
    running: Sequence[OnNodes] = ()  # oldest first
    waiting: Sequence[InLine] = ()  # in the order of their turns
    machines: Sequence[Machine] = ()  # in hostfile order
    launches: Mapping[str, Sequence[Stage]] = field(default_factory=dict)  # of pipelines that have not ended, "facts/3"

    @property
    def free_nodes(self) -> int:
        """Nodes of which every slot is free."""
        return sum(each.free == len(each.holders) for each in self.machines)


def launch_of(experiment: Experiment) -> tuple[str, str] | None:
    """Return the launch of a pipeline that an experiment is a stage of, "facts/3", and its stage."""
    launch = next((tag.removeprefix(_PIPELINE) for tag in experiment.tags if _numbered(tag)), None)
    stage = next((tag.removeprefix(_STAGE) for tag in experiment.tags if tag.startswith(_STAGE)), None)
    return None if launch is None or stage is None else (launch, stage)


def _numbered(tag: str) -> bool:
    return tag.startswith(_PIPELINE) and tag.rpartition("/")[2].isdecimal() and "/" in tag


class SurveyReader:
    """Looks again and again; a spec is read once. For one thread at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._mine = holder_of(store.path)["database"]
        self._known: dict[tuple[str, str, int], Asked | None] = {}

    def read(self) -> Survey:
        """Return how things stand."""
        now = time.time()
        everything = experiments.list_experiments(self._store)
        unfinished = [each for each in everything if not each.state.ended][::-1]
        keys = {each.id: (each.id, each.spec_hash, each.attempts) for each in unfinished}
        self._known = {key: self._asked(key) for key in keys.values()}
        asked = {identity: self._known[key] for identity, key in keys.items()}
        running = [
            one
            for each in unfinished
            if each.state is not State.QUEUED and (one := self._running(each, asked[each.id], now)) is not None
        ]
        line = self._line([each for each in unfinished if each.state is State.QUEUED], asked, running, now)
        hostfiles = [each.hosts for each in asked.values() if each is not None]
        if not hostfiles and everything:
            hostfiles = self._last(everything)
        machines = tuple(self._machines(hostfiles, running, now))
        return Survey(now, tuple(running), tuple(line), machines, _launches(everything, unfinished))

    def _asked(self, key: tuple[str, str, int]) -> Asked | None:
        if key in self._known:
            return self._known[key]
        try:
            spec, hosts = experiments.get_spec(self._store, key[0]), hostfile_of(self._store, key[0])
        except PlumblineError:
            return None
        try:
            want = None if hosts.slurm is not None else want_of(hosts.nodes, spec.placement)
        except PlumblineError:
            want = None
        return Asked(spec, hosts, want)

    def _last(self, everything: Sequence[Experiment]) -> list[Hostfile]:
        """Return the hostfile of the newest experiment."""
        try:
            return [hostfile_of(self._store, everything[0].id)]
        except PlumblineError:
            return []

    def _running(self, experiment: Experiment, asked: Asked | None, now: float) -> OnNodes | None:
        if asked is None:
            return None
        newest = attempts.list_attempts(self._store, experiment.id)[-1]
        by_host = {node.host: node for node in asked.hosts.nodes}
        seats = from_rows(newest.placement)
        slots = {node_key(by_host[seat.host]): seat.slot_numbers for seat in seats if seat.host in by_host}
        left = seconds_left(experiment, newest, now)
        ends_at = None if left is None else now + left
        return OnNodes(experiment, asked.spec, slots, [seat.host for seat in seats], newest.created_at, ends_at)

    def _line(
        self,
        queued: Iterable[Experiment],
        asked: Mapping[str, Asked | None],
        running: Sequence[OnNodes],
        now: float,
    ) -> Iterator[InLine]:
        parents = dependents.dependencies(self._store)
        ends = {each.experiment.id: each.ends_at for each in running}
        turns = {each.id: turn_of(each.id, each.priority, each.queued_at or each.created_at) for each in queued}
        ordered = sorted(queued, key=lambda each: turns[each.id])
        for place, experiment in enumerate(ordered, 1):
            found, above = asked[experiment.id], parents.get(experiment.id, {})
            takes = {} if found is None else _takes(found.spec, above)
            why = _why(experiment, above, takes, ends, now)
            yield InLine(experiment, found, place, turns[experiment.id], above, takes, why)

    def _machines(self, hostfiles: Iterable[Hostfile], running: Iterable[OnNodes], now: float) -> Iterator[Machine]:
        named: dict[str, Node] = {}
        for hosts in hostfiles:
            for node in hosts.nodes if hosts.slurm is None else ():
                known = named.setdefault(node_key(node), node)
                if node.slots > known.slots:
                    named[node_key(node)] = node
        records = {each.key: each for each in nodes.list_nodes(self._store)}
        for key, node in named.items():
            yield self._machine(key, node, records.get(key), running, now)

    def _machine(
        self, key: str, node: Node, record: NodeRecord | None, running: Iterable[OnNodes], now: float
    ) -> Machine:
        standing: Mapping[str, Any] = record.standing or {} if record is not None else {}
        lately = record is not None and record.heard_at is not None and now - record.heard_at < _LATELY
        leases: Mapping[str, Any] = standing.get("leases") or {} if lately else {}
        foreign = {
            int(slot): holder_name(holder if isinstance(holder, dict) else {})
            for slot, holder in leases.items()
            if not isinstance(holder, dict) or holder.get("database") != self._mine
        }
        holders = [foreign.get(slot, "") for slot in range(node.slots)]
        for each in running:
            for slot in each.slots.get(key, ()):
                if slot < len(holders):
                    holders[slot] = each.experiment.id
        disk = standing.get("disk") or {}
        return Machine(
            key,
            node.host,
            holders,
            record is not None and record.drained_at is not None,
            None if record is None else record.message,
            None if record is None else record.heard_at,
            foreign,
            disk.get("free_bytes"),
            disk.get("total_bytes"),
        )


def _takes(spec: AnySpec, parents: Mapping[str, State]) -> dict[str, str]:
    """Return what a spec takes of its parents, in words."""
    found: dict[str, list[str]] = {}
    try:
        references = references_of(spec).values()
    except PlumblineError:
        return {}
    for reference in references:
        if reference.name in parents:
            what = "run directory" if reference.is_run else reference.output.replace("_", " ")
            found.setdefault(reference.name, []).append(what)
    return {parent: " and ".join(dict.fromkeys(what)) for parent, what in found.items()}


def _why(
    experiment: Experiment,
    parents: Mapping[str, State],
    takes: Mapping[str, str],
    ends: Mapping[str, float | None],
    now: float,
) -> str:
    if experiment.desired is not Desired.RUN:
        return "is being stopped before it starts"
    unmade = [parent for parent, state in parents.items() if state is not State.SUCCEEDED]
    if not unmade:
        return (experiment.reason or _NOT_SEEN).rstrip(".")
    known = [end for parent in unmade if (end := ends.get(parent)) is not None]
    ends_at = f", {waiting.about(max(known), now)}" if len(known) == len(unmade) else ""
    if len(unmade) == 1:
        parent = unmade[0]
        what = f"whose {takes[parent]} it takes" if parent in takes else "after which it comes"
        return f"waits for {parent}, {what}{ends_at}"
    named = [f"{parent} ({takes[parent]})" if parent in takes else parent for parent in unmade]
    return f"waits for {listing(named, 'and')}{ends_at}"


def _launches(everything: Sequence[Experiment], unfinished: Iterable[Experiment]) -> dict[str, Sequence[Stage]]:
    """Return the stages of each launch that has not ended, in the order in which they were queued."""
    open_ = {found[0] for each in unfinished if (found := launch_of(each)) is not None}
    launches: dict[str, list[Stage]] = {name: [] for name in sorted(open_)}
    for each in reversed(everything):
        found = launch_of(each)
        if found is not None and found[0] in open_:
            launches[found[0]].append(Stage(found[1], each))
    return dict(launches)
