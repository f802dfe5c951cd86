"""Which nodes and slots a run takes."""

from __future__ import annotations

import pytest

from engine.cluster.hostfile import parse_hostfile
from engine.dispatch.placement import from_rows, place, to_rows, world_size
from engine.errors import Refused
from engine.spec.sections import Placement

NODES = parse_hostfile("a slots=4\nb slots=2\nc slots=4\n", "test").nodes


def test_ranks_go_in_the_order_of_the_hostfile_as_deepspeed_numbers_them() -> None:
    seats = place(NODES, Placement())
    assert [(seat.host, list(seat.ranks)) for seat in seats] == [
        ("a", [0, 1, 2, 3]),
        ("b", [4, 5]),
        ("c", [6, 7, 8, 9]),
    ]
    assert world_size(seats) == 10
    assert from_rows(to_rows(seats)) == seats


def test_a_spec_may_take_less_and_is_refused_more() -> None:
    seats = place(NODES, Placement(nodes=2, slots=1))
    assert [(seat.index, seat.host, seat.first_rank) for seat in seats] == [(0, "a", 0), (1, "b", 1)]
    with pytest.raises(Refused, match="asks for 4 nodes; the hostfile has 3"):
        place(NODES, Placement(nodes=4))
    with pytest.raises(Refused, match="asks for 3 slots a node; b has 2"):
        place(NODES, Placement(slots=3))
