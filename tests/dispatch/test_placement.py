"""Which nodes and slots a run asks for, and how the database keeps those it got."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.cluster.hostfile import parse_hostfile
from engine.dispatch.placement import from_rows, node_key, place, to_rows, want_of, world_size
from engine.errors import Refused
from engine.spec.sections import Placement

NODES = parse_hostfile("a slots=4\nb slots=2\nc slots=4\n", "test").nodes


def test_ranks_go_in_the_order_of_the_hostfile_as_deepspeed_numbers_them() -> None:
    seats = place(NODES, Placement())
    assert [(seat.host, seat.slot_numbers, list(seat.ranks)) for seat in seats] == [
        ("a", (0, 1, 2, 3), [0, 1, 2, 3]),
        ("b", (0, 1), [4, 5]),
        ("c", (0, 1, 2, 3), [6, 7, 8, 9]),
    ]
    assert world_size(seats) == 10


def test_seats_come_back_from_the_database_and_old_rows_mean_the_first_slots() -> None:
    seats = tuple(replace(seat, slot_numbers=(1, 3)[: seat.slots]) for seat in place(NODES, Placement(slots=2)))
    assert from_rows(to_rows(seats)) == seats
    (old,) = from_rows([{"index": 0, "host": "a", "slots": 3, "first_rank": 0}])
    assert (old.slots, old.slot_numbers) == (3, (0, 1, 2))


def test_a_spec_may_take_less_and_is_refused_more() -> None:
    seats = place(NODES, Placement(nodes=2, slots=1))
    assert [(seat.index, seat.host, seat.first_rank) for seat in seats] == [(0, "a", 0), (1, "b", 1)]
    with pytest.raises(Refused, match=r"placement\.nodes asks for 4 nodes; the hostfile has 3"):
        place(NODES, Placement(nodes=4))
    with pytest.raises(Refused, match="asks for 3 slots a node; b has 2"):
        place(NODES, Placement(slots=3))


def test_nodes_that_are_too_small_are_passed_over_while_enough_are_left() -> None:
    assert [seat.host for seat in place(NODES, Placement(nodes=2, slots=3))] == ["a", "c"]
    with pytest.raises(Refused, match="asks for 3 slots a node; b has 2"):
        place(NODES, Placement(nodes=3, slots=3))


def test_with_a_range_it_is_refused_only_if_the_fewest_are_too_many() -> None:
    assert len(place(NODES, Placement(nodes=8, min_nodes=2))) == 3
    assert len(place(NODES, Placement(min_nodes=1))) == 3
    with pytest.raises(Refused, match=r"placement\.min_nodes asks for 4 nodes; the hostfile has 3"):
        place(NODES, Placement(nodes=8, min_nodes=4))
    want = want_of(NODES, Placement(nodes=8, min_nodes=2, slots=1, share=True), avoid={"a"})
    assert (want.fewest, want.most, want.slots, want.share, want.avoid) == (2, 3, 1, True, frozenset({"a"}))


def test_a_machine_has_one_key_in_all_hostfiles_that_reach_it_alike() -> None:
    local, worker = parse_hostfile("# plumbline[localhost]: address=x\nlocalhost slots=1\nw slots=8\n", "test").nodes
    assert node_key(worker) == node_key(replace(worker, slots=4, workdir="~/other", python="/usr/bin/python3"))
    assert node_key(worker) != node_key(replace(worker, ssh_config="~/lab/ssh_config"))
    assert node_key(local) == node_key(replace(local, ssh_config="~/lab/ssh_config")) != node_key(worker)
