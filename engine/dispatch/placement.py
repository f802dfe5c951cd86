"""Which slots of a hostfile a run takes: the first nodes, and the first slots of each, in hostfile order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.cluster.hostfile import Node
from engine.errors import Refused
from engine.spec.sections import Placement


@dataclass(frozen=True, slots=True)
class Seat:
    """What a run takes of one node. Ranks go in hostfile order, as DeepSpeed numbers them."""

    index: int  # of the node in the placement: 0, 1, …
    host: str
    slots: int
    first_rank: int

    @property
    def ranks(self) -> range:
        """The global ranks that run there."""
        return range(self.first_rank, self.first_rank + self.slots)


def place(nodes: Sequence[Node], wanted: Placement) -> tuple[Seat, ...]:
    """Return the seats of a run on the nodes of a hostfile.

    Raises:
        Refused: if the hostfile has fewer nodes, or a node fewer slots, than the spec asks for.
    """
    count = len(nodes) if wanted.nodes is None else wanted.nodes
    if count > len(nodes):
        raise Refused(f"placement.nodes asks for {count} nodes; the hostfile has {len(nodes)}.")
    seats: list[Seat] = []
    first_rank = 0
    for index, node in enumerate(nodes[:count]):
        slots = node.slots if wanted.slots is None else wanted.slots
        if slots > node.slots:
            raise Refused(f"placement.slots asks for {slots} slots a node; {node.host} has {node.slots}.")
        seats.append(Seat(index, node.host, slots, first_rank))
        first_rank += slots
    return tuple(seats)


def world_size(seats: Sequence[Seat]) -> int:
    """Return the number of ranks."""
    return sum(seat.slots for seat in seats)


def to_rows(seats: Iterable[Seat]) -> list[dict[str, Any]]:
    """Return the seats as they stand in the database."""
    return [asdict(seat) for seat in seats]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[Seat, ...]:
    """Return the seats of rows that `to_rows` made."""
    return tuple(Seat(int(row["index"]), str(row["host"]), int(row["slots"]), int(row["first_rank"])) for row in rows)
