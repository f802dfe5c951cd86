"""Ranks that are behind the others of their run, as the agents' heartbeats tell it. Pure.

All ranks of a run wait for each other at every step, so that none is ever far ahead: what tells the slow one is that
its process is stopped, that the others are in a later step, or that its last mark is much older than theirs.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

_BEHIND_STEPS = 2  # the others may have marked their next step a moment before
_LATE_SECONDS, _LATE_FACTOR = 10.0, 5.0
_WAITING = {"T": "its process is stopped", "D": "its process waits for a disk or a network file system"}


def stragglers(ranks: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """Return by rank why it is behind; the others are not in it.

    ranks: of one run, by rank what its heartbeat says: `state`, `step`, and `ago`, the seconds since its last mark.
    """
    steps = [int(each["step"]) for each in ranks.values() if each.get("step") is not None]
    ages = [float(each["ago"]) for each in ranks.values() if each.get("ago") is not None]
    if not ages:
        return {}
    step, age = statistics.median(steps) if steps else 0, statistics.median(ages)
    found = {}
    for rank, each in ranks.items():
        ago = each.get("ago")
        late = ago is not None and ago > _LATE_SECONDS + _LATE_FACTOR * age
        behind = 0 if each.get("step") is None else round(step - int(each["step"]))
        if each.get("state") in _WAITING and (each["state"] == "T" or late):
            found[rank] = _WAITING[each["state"]]
        elif len(ranks) > 1 and behind >= _BEHIND_STEPS:
            found[rank] = f"{behind} steps behind the others"
        elif len(ranks) > 1 and late:
            found[rank] = f"{ago:.0f} s without a mark, the others {age:.0f} s"
    return found
