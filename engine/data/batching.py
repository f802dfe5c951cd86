"""The order in which an epoch visits its rows."""

from __future__ import annotations

import random
from collections.abc import Sequence


def order(seed: int, epoch: int, count: int) -> Sequence[int]:
    """Return a permutation of 0 … count − 1 that depends on these three numbers alone.

    It sorts by draws of `random.Random.random`, whose sequence Python keeps from version to version; the generators of
    torch and numpy promise no such thing.
    """
    draw = random.Random(f"plumbline-order-{seed}-{epoch}").random
    keys = [draw() for _ in range(count)]
    return sorted(range(count), key=keys.__getitem__)
