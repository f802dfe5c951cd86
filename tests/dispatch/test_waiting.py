"""Why a run waits: one exact sentence, which stays while nothing changes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from engine.dispatch.placement import Want
from engine.dispatch.scheduling import Begin, NodeStanding, verdicts
from tests.dispatch.scene import NODES, NOON, decide, queued, reason, running, want, whole
from tests.dispatch.simulation import HOUR


@pytest.fixture(autouse=True)
def _in_one_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times in sentences are local."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_what_is_needed_what_is_free_and_what_ends_next() -> None:
    held = [running("ppo-0041", whole(1), 2 * HOUR + 60), running("ppo-0042", whole(2), 7 * HOUR)]
    assert reason(decide([queued("x", want(4))], held)["x"]) == "needs 4 nodes, 2 free; next end ≈ 14:15, ppo-0041"
    held.append(running("ppo-0043", {"node-3": (0, 1, 2), "node-4": range(7)}, 2 * 24 * HOUR))
    assert reason(decide([queued("x", want(1, 8))], held)["x"]) == (
        "needs 8 slots on one node, 5 free on node-3; next end ≈ 14:15, ppo-0041"
    )
    assert reason(decide([queued("x", want(3, 1))], held)["x"]) == (
        "needs 3 nodes with 1 slot each, 2 free; next end ≈ 14:15, ppo-0041"
    )
    assert reason(decide([queued("x", want(4))], held[2:])["x"]) == (
        "needs 4 nodes, 2 free; next end ≈ Sat 28 Nov 12:00, ppo-0043"
    )
    late = [running("sft-0001", whole(1), -60.0)]
    assert reason(decide([queued("x", want(4))], late)["x"]) == "needs 4 nodes, 3 free; held by sft-0001"


def test_nodes_that_are_out_of_use_are_named() -> None:
    standing = {"node-3": NodeStanding(drained=True)}
    assert reason(decide([queued("x", want(4))], [], standing)["x"]) == "node-3 is drained"
    standing["node-1"] = NodeStanding(unreachable="connection refused.")
    assert reason(decide([queued("x", want(3))], [], standing)["x"]) == (
        "needs 3 nodes, 2 can be used: node-1 cannot be reached: connection refused; node-3 is drained"
    )
    assert reason(decide([queued("x", Want(NODES[2:3], 1, 1))], [], standing)["x"]) == "node-3 is drained"


def test_slots_of_other_people_are_named_with_their_holders() -> None:
    foreign = dict.fromkeys(range(4), "anna@desk: ppo-0012") | {6: "ben@lab: sft-0003"}
    standing = {"node-2": NodeStanding(foreign)}
    assert reason(decide([queued("x", want(4))], [], standing)["x"]) == (
        "slots 0-3 of node-2 are held by anna@desk: ppo-0012; slot 6 of node-2 is held by ben@lab: sft-0003"
    )
    assert isinstance(decide([queued("x", want(3))], [], standing)["x"], Begin)


def test_who_is_first_is_told_with_what_it_needs() -> None:
    held = [running("a", whole(1))]
    young = queued("x", want(1, 1), 1, seconds=2 * HOUR)
    whole_file = decide([queued("ppo-0007", want(4), 9), young], held)["x"]
    assert reason(whole_file) == "behind ppo-0007, which came first and needs node-1..4"
    urgent = decide([queued("ppo-0007", want(4), 0, 1), young], held)["x"]
    assert reason(urgent) == "behind ppo-0007, which has the higher priority and needs node-1..4"


def test_a_reason_stays_while_nothing_changes() -> None:
    queue = [queued("first", want(4), 9), queued("second", want(2), 8), queued("third", want(1, 8), 7)]
    told = set()
    for second in range(0, 240, 7):
        # The estimate moves a little with every step.
        held = [replace(running("a", whole(1)), ends_at=NOON + 2000 + second % 5)]
        told.add(tuple(reason(each) for each in verdicts(queue, {}, held, NOON + second).values()))
    assert len(told) == 1
