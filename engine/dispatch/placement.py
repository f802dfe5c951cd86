"""Which slots of a hostfile a run asks for, and which it got. Ranks go in hostfile order, as DeepSpeed numbers them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.cluster.hostfile import Node
from engine.errors import Refused
from engine.spec.sections import Placement


@dataclass(frozen=True, slots=True)
class Seat:
    """What a run takes of one node."""

    index: int  # of the node in the placement: 0, 1, …
    host: str
    slot_numbers: tuple[int, ...]  # ascending: the GPUs, or the CPU workers, that it takes there
    first_rank: int

    @property
    def slots(self) -> int:
        """How many slots it takes there: as many ranks run there."""
        return len(self.slot_numbers)

    @property
    def ranks(self) -> range:
        """The global ranks that run there."""
        return range(self.first_rank, self.first_rank + self.slots)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that a run may take."""

    key: str  # of `node_key`
    host: str
    slots: int  # that its hostfile gives it


@dataclass(frozen=True, slots=True)
class Want:
    """What a run asks for: from `fewest` to `most` of the candidates, and on each `slots` slots."""

    candidates: tuple[Candidate, ...]  # in hostfile order
    fewest: int
    most: int
    slots: int | None = None  # on a node; None: all of the node
    share: bool = False  # with runs that share, too
    avoid: frozenset[str] = frozenset()  # keys of nodes that it takes only where the others are too few

    def slots_on(self, candidate: Candidate) -> int:
        """How many slots of this node it would take."""
        return candidate.slots if self.slots is None else self.slots

    def fits_on(self, candidate: Candidate) -> bool:
        """Whether the node, empty, has as many."""
        return self.slots is None or self.slots <= candidate.slots


def node_key(node: Node) -> str:
    """Return what names a machine across hostfiles: its host, and the SSH configuration that says where that is."""
    return node.host if node.is_local or node.ssh_config is None else f"{node.host} by {node.ssh_config}"


@lru_cache(maxsize=256)
def _candidates(nodes: tuple[Node, ...]) -> tuple[Candidate, ...]:
    """Return the same candidates for the same nodes: what is worked out for one run then serves all like it."""
    return tuple(Candidate(node_key(node), node.host, node.slots) for node in nodes)


def want_of(nodes: Sequence[Node], wanted: Placement, avoid: Collection[str] = ()) -> Want:
    """Return what a spec asks of the nodes of a hostfile. avoid: keys of nodes that failed the run before.

    Raises:
        Refused: if the hostfile has fewer nodes, or too few of them as many slots, as the spec asks for.
    """
    most = len(nodes) if wanted.nodes is None else wanted.nodes
    fewest = most if wanted.min_nodes is None else wanted.min_nodes
    if fewest > len(nodes):
        key = "nodes" if wanted.min_nodes is None else "min_nodes"
        raise Refused(f"placement.{key} asks for {fewest} nodes; the hostfile has {len(nodes)}.")
    candidates = _candidates(tuple(nodes))
    want = Want(candidates, fewest, min(most, len(nodes)), wanted.slots, wanted.share, frozenset(avoid))
    small = [candidate for candidate in candidates if not want.fits_on(candidate)]
    if fewest > len(candidates) - len(small):
        raise Refused(
            f"placement.slots asks for {wanted.slots} slots a node; {small[0].host} has {small[0].slots}.",
        )
    return want


def place(nodes: Sequence[Node], wanted: Placement) -> tuple[Seat, ...]:
    """Return the seats that a run has on a hostfile whose nodes are all free: as many as it may take, the first ones.

    Raises:
        Refused: as `want_of`.
    """
    want = want_of(nodes, wanted)
    chosen = [candidate for candidate in want.candidates if want.fits_on(candidate)][: want.most]
    return seat([(candidate, tuple(range(want.slots_on(candidate)))) for candidate in chosen])


def seat(taken: Iterable[tuple[Candidate, tuple[int, ...]]]) -> tuple[Seat, ...]:
    """Number the ranks of the slots that a run takes. taken: nodes in hostfile order, and their slots."""
    seats: list[Seat] = []
    first_rank = 0
    for index, (candidate, slots) in enumerate(taken):
        seats.append(Seat(index, candidate.host, slots, first_rank))
        first_rank += len(slots)
    return tuple(seats)


def world_size(seats: Sequence[Seat]) -> int:
    """Return the number of ranks."""
    return sum(seat.slots for seat in seats)


def to_rows(seats: Iterable[Seat]) -> list[dict[str, Any]]:
    """Return the seats as they stand in the database."""
    return [
        {
            "index": seat.index,
            "host": seat.host,
            "slots": seat.slots,
            "slot_numbers": list(seat.slot_numbers),
            "first_rank": seat.first_rank,
        }
        for seat in seats
    ]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[Seat, ...]:
    """Return the seats of rows that `to_rows` made; older rows do not number the slots: they are the first ones."""
    return tuple(
        Seat(
            int(row["index"]),
            str(row["host"]),
            tuple(int(number) for number in row.get("slot_numbers", range(int(row["slots"])))),
            int(row["first_rank"]),
        )
        for row in rows
    )
