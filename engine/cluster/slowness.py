"""Which node or link is slow, from what was measured between all pairs. Pure.

Measurements are compared as logarithms, with their median; what is worse than it by many times the median absolute
deviation, and by a factor that matters, stands out. A node is slow if even the best of its links is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

DEVIATIONS = 5.0
NORMAL = 1.4826  # times the median absolute deviation is the standard deviation, of normal noise
LEAST_FACTOR = 1.6  # by which it must be worse, however still the others are
LEAST_LATENCY_SECONDS = 100e-6  # by which it must be worse, too: less is between two racks

Pair = tuple[str, str]  # from, to


@dataclass(frozen=True, slots=True)
class Slow:
    """What stands out: one host of which all links are slow, or the two of one link."""

    hosts: tuple[str, ...]
    value: float  # of the node its best link, of the link its worse direction
    typical: float  # the median of the others


def slow_latencies(seconds: Mapping[Pair, float]) -> list[Slow]:
    """Return the slow nodes, then the slow links. seconds: of a round trip, by pair."""
    found = _slow({pair: max(value, 1e-9) for pair, value in seconds.items()})
    return [each for each in found if each.value - each.typical >= LEAST_LATENCY_SECONDS]


def slow_throughputs(rates: Mapping[Pair, float]) -> list[Slow]:
    """Return the slow nodes, then the slow links. rates: bytes a second, by pair."""
    found = _slow({pair: 1 / max(value, 1e-9) for pair, value in rates.items()})
    return [Slow(each.hosts, 1 / each.value, 1 / each.typical) for each in found]


def _slow(costs: Mapping[Pair, float]) -> list[Slow]:
    """Return what costs too much."""
    hosts = list(dict.fromkeys(host for pair in costs for host in pair))
    if len(hosts) < 3:
        return []  # of two, neither can be told from the link between them
    nodes = _slow_nodes(hosts, costs)
    named = {each.hosts[0] for each in nodes}
    rest = {pair: cost for pair, cost in costs.items() if not named & set(pair)}
    links: dict[tuple[str, ...], Slow] = {}
    too_much, typical = _bound(list(rest.values()))
    for pair, cost in rest.items():
        ends = tuple(sorted(pair, key=hosts.index))
        if cost > too_much and (ends not in links or cost > links[ends].value):
            links[ends] = Slow(ends, cost, typical)
    return [*nodes, *links.values()]


def _slow_nodes(hosts: Sequence[str], costs: Mapping[Pair, float]) -> list[Slow]:
    """Return the nodes that send slowly to all, or to which all send slowly."""
    found: dict[str, Slow] = {}
    ends: Sequence[Callable[[Pair], str]] = (lambda pair: pair[0], lambda pair: pair[1])
    for end in ends:
        best = {host: min((cost for pair, cost in costs.items() if end(pair) == host), default=0.0) for host in hosts}
        too_much, typical = _bound([cost for cost in best.values() if cost > 0])
        for host, cost in best.items():
            if cost > too_much and (host not in found or cost > found[host].value):
                found[host] = Slow((host,), cost, typical)
    return sorted(found.values(), key=lambda each: hosts.index(each.hosts[0]))


def _bound(costs: Sequence[float]) -> tuple[float, float]:
    """Return above which cost one stands out, and the typical one."""
    if not costs:
        return math.inf, math.nan
    logs = [math.log(cost) for cost in costs]
    middle = statistics.median(logs)
    spread = NORMAL * statistics.median(abs(each - middle) for each in logs)
    return math.exp(middle + max(math.log(LEAST_FACTOR), DEVIATIONS * spread)), math.exp(middle)
