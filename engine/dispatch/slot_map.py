"""Every slot of some nodes: which rank of which run has it, who else, and how busy it was when it was last heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.cluster.hostfile import Node, local_hostfile, parse_hostfile
from engine.dispatch.placement import from_rows, node_key
from engine.dispatch.reasons import holder_name
from engine.dispatch.stragglers import stragglers
from engine.errors import InvalidInput
from engine.store import attempts, experiments
from engine.store import nodes as store_nodes

if TYPE_CHECKING:
    from engine.store.attempts import Contact
    from engine.store.database import Store
    from engine.store.experiment import Experiment

_NOTHING: Mapping[str, Any] = {}
_OF_PROGRAMS = frozenset({13, 31, 43, 45})  # XIDs that a program causes, after which the GPU is as good as before


@dataclass(frozen=True, slots=True)
class Seating:
    """A rank of a run on a slot."""

    experiment_id: str
    rank: int
    standing: Mapping[str, Any] = field(default_factory=dict)  # as its agent's heartbeat tells it
    heard_at: float | None = None  # when that came, seconds since the epoch
    message: str | None = None  # why its node is silent; null while all is well
    straggles: str | None = None  # why it holds the others up


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a node."""

    number: int
    seating: Seating | None = None  # of a run of this database
    foreign: str | None = None  # who else holds it
    gpu: Mapping[str, Any] = field(default_factory=dict)  # as `engine.cluster.node.sampling` tells it; empty: no GPU

    @property
    def busy_percent(self) -> float | None:
        """How busy its GPU is, else the process of its rank: 100 is one whole core. Null: not known."""
        if self.gpu:
            told = self.gpu.get("utilization_percent")
        else:
            told = None if self.seating is None else self.seating.standing.get("cpu_percent")
        return None if told is None else float(told)

    @property
    def fault(self) -> str | None:
        """What is wrong with its GPU."""
        xid = self.gpu.get("xid")
        if isinstance(xid, dict) and xid.get("code") not in _OF_PROGRAMS:
            return f"XID {xid.get('code')}: {xid.get('text')}"
        ecc = self.gpu.get("ecc_uncorrected")
        return f"{ecc} uncorrected ECC errors" if ecc else None


@dataclass(frozen=True, slots=True)
class NodeSlots:
    """One node and its slots."""

    key: str  # of `node_key`
    host: str
    slots: Sequence[Slot]
    drained: bool = False
    heard_at: float | None = None  # seconds since the epoch
    message: str | None = None  # why it is silent
    standing: Mapping[str, Any] = field(default_factory=dict)  # load, memory, disk, network, when it was last heard
    watched: bool = False  # a run that has not ended is there, so that it should be heard

    @property
    def runs(self) -> list[str]:
        """The runs of this database that are there."""
        seated = (slot.seating.experiment_id for slot in self.slots if slot.seating is not None)
        return list(dict.fromkeys(seated))


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The nodes in hostfile order, and the runs that have slots anywhere, the oldest first."""

    nodes: Sequence[NodeSlots]
    runs: Sequence[Experiment]


def nodes_of(store: Store, found: Iterable[Experiment]) -> list[Node]:
    """Return the nodes of the hostfiles of experiments, each machine once; where two differ, with the more slots."""
    nodes: dict[str, Node] = {}
    texts = {experiments.hostfile_text(store, each.id) if each.hostfile else None for each in found}
    for text in sorted(texts, key=lambda text: text or ""):
        for node in parsed(text):
            known = nodes.get(node_key(node))
            if known is None or known.slots < node.slots:
                nodes[node_key(node)] = node
    return list(nodes.values())


def parsed(text: str | None) -> Sequence[Node]:
    """Return the nodes of a hostfile's text, none if it is not valid any more; null: this machine."""
    try:
        return (local_hostfile() if text is None else parse_hostfile(text, "hostfile")).nodes
    except InvalidInput:
        return ()


def read(store: Store, nodes: Sequence[Node]) -> SlotMap:
    """Return how the slots of these nodes stand."""
    runs, seated = _seated(store)
    known = {record.key: record for record in store_nodes.list_nodes(store)}
    found = []
    for node in nodes:
        key = node_key(node)
        record = known.get(key)
        standing = (record.standing if record is not None else None) or _NOTHING
        seats = seated.get(key, {})
        gpus = {gpu.get("index"): gpu for gpu in standing.get("gpus") or ()}
        held = standing.get("leases") or {}
        slots = [
            Slot(number, seats.get(number), _foreign(held.get(str(number)), seats.get(number)), gpus.get(number, {}))
            for number in range(max([node.slots, *(number + 1 for number in seats)]))
        ]
        drained = record is not None and record.drained_at is not None
        heard = [record.heard_at if record is not None else None, *(seat.heard_at for seat in seats.values())]
        told = [record.message if record is not None else None, *(seat.message for seat in seats.values())]
        latest = max((at for at in heard if at is not None), default=None)
        message = next((each for each in told if each is not None), None)
        found.append(NodeSlots(key, node.host, slots, drained, latest, message, standing, bool(seats)))
    return SlotMap(found, runs)


def _seated(store: Store) -> tuple[list[Experiment], dict[str, dict[int, Seating]]]:
    """Return the runs that have slots, and by node key and slot which rank sits there."""
    runs: list[Experiment] = []
    seated: dict[str, dict[int, Seating]] = {}
    for experiment in experiments.unfinished(store):
        tried = attempts.list_attempts(store, experiment.id)
        if not tried or tried[-1].state.ended:
            continue
        runs.append(experiment)
        newest = tried[-1]
        told = {each.node: each for each in attempts.contacts(store, experiment.id) if each.attempt == newest.number}
        text = experiments.hostfile_text(store, experiment.id) if experiment.hostfile else None
        keys = {node.host: node_key(node) for node in parsed(text)}
        standings = {rank: each for contact in told.values() for rank, each in _ranks(contact).items()}
        behind = stragglers(standings)
        for seat in from_rows(newest.placement):
            there = seated.setdefault(keys.get(seat.host, seat.host), {})
            contact = told.get(seat.index)
            heard, message = (None, None) if contact is None else (contact.heard_at, contact.message)
            for rank, number in zip(seat.ranks, seat.slot_numbers, strict=True):
                standing = standings.get(rank, _NOTHING)
                there[number] = Seating(experiment.id, rank, standing, heard, message, behind.get(rank))
    return sorted(runs, key=lambda run: run.created_at), seated


def _ranks(contact: Contact) -> dict[int, Mapping[str, Any]]:
    ranks = (contact.pulse or _NOTHING).get("ranks") or {}
    return {int(rank): each for rank, each in ranks.items() if isinstance(each, dict)}


def _foreign(holder: Any, seating: Seating | None) -> str | None:
    """Return who holds a slot beside the runs of this database."""
    if holder is None or seating is not None:
        return None
    return holder_name(holder if isinstance(holder, dict) else {})
