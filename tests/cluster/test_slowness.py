"""Hand-made matrices: the one slow node, or link, is named; noise is not."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import permutations

import pytest

from engine.cluster.slowness import Pair, slow_latencies, slow_throughputs

HOSTS = [f"node-{index}" for index in range(1, 9)]


def matrix(of: int, usual: float, odd: Callable[[str, str], float | None] = lambda a, b: None) -> Mapping[Pair, float]:
    """Return what was measured between so many nodes: about the usual, but where `odd` says otherwise."""
    noise = random.Random(7)
    found = {}
    for pair in permutations(HOSTS[:of], 2):
        found[pair] = (odd(*pair) or usual) * noise.uniform(0.95, 1.05)
    return found


@pytest.mark.parametrize("of", [3, 4, 5, 8])
def test_nothing_is_named_where_all_are_about_equal(of: int) -> None:
    assert slow_latencies(matrix(of, 50e-6)) == []
    assert slow_throughputs(matrix(of, 10e9)) == []


@pytest.mark.parametrize("of", [3, 4, 5, 8])
def test_one_slow_node_is_named_and_none_of_its_links(of: int) -> None:
    [slow] = slow_latencies(matrix(of, 50e-6, lambda a, b: 1050e-6 if "node-2" in (a, b) else None))
    assert slow.hosts == ("node-2",)
    assert slow.value == pytest.approx(1050e-6, rel=0.1)
    assert slow.typical == pytest.approx(50e-6, rel=0.1)
    [slow] = slow_throughputs(matrix(of, 10e9, lambda a, b: 1e9 if "node-2" in (a, b) else None))
    assert (slow.hosts, slow.value < 1.1e9, slow.typical > 9e9) == (("node-2",), True, True)


@pytest.mark.parametrize("of", [3, 4, 5, 8])
def test_one_slow_link_is_named_with_both_ends(of: int) -> None:
    [slow] = slow_throughputs(matrix(of, 10e9, lambda a, b: 2e9 if {a, b} == {"node-1", "node-3"} else None))
    assert slow.hosts == ("node-1", "node-3")
    [slow] = slow_latencies(matrix(of, 50e-6, lambda a, b: 5e-3 if {a, b} == {"node-1", "node-3"} else None))
    assert slow.hosts == ("node-1", "node-3")


def test_a_node_that_only_sends_slowly_is_named() -> None:
    [slow] = slow_throughputs(matrix(8, 10e9, lambda a, b: 1e9 if a == "node-4" else None))
    assert slow.hosts == ("node-4",)


def test_a_slow_node_and_a_slow_link_between_others_are_both_named() -> None:
    def odd(a: str, b: str) -> float | None:
        return 1e9 if "node-4" in (a, b) else 3e9 if {a, b} == {"node-7", "node-8"} else None

    assert [slow.hosts for slow in slow_throughputs(matrix(8, 10e9, odd))] == [("node-4",), ("node-7", "node-8")]


def test_two_racks_are_no_fault() -> None:
    def odd(a: str, b: str) -> float | None:
        return 60e-6 if (HOSTS.index(a) < 5) != (HOSTS.index(b) < 5) else None

    assert slow_latencies(matrix(8, 20e-6, odd)) == []


def test_of_two_nodes_neither_is_named() -> None:
    assert slow_latencies({("a", "b"): 1.0, ("b", "a"): 1e-6}) == []
