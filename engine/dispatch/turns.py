"""Whose turn is first: a level of priority is worth so many hours of having come earlier."""

from __future__ import annotations

from typing import NamedTuple

LEVEL_SECONDS = 12 * 3600.0


class Turn(NamedTuple):
    """The place of a run in the order; the smaller comes first. It never changes while the run waits."""

    counted_from: float  # when it was queued, put back by its priority
    created_at: float
    id: str


def turn_of(identity: str, priority: int, created_at: float) -> Turn:
    """Return the place of a run in the order.

    Of equal priority, the one that was queued first comes first. One that is a level above comes before all that were
    queued up to `LEVEL_SECONDS` before it, and before no others: so a run of low priority has its turn in the end,
    whatever is queued after it.
    """
    return Turn(created_at - priority * LEVEL_SECONDS, created_at, identity)
