"""How long a queued run will last. Seconds; None: nobody can say."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from engine.spec.models import AnySpec, SimSpec, TrainedSpec

_RECENT = 5  # earlier runs that count


@dataclass(frozen=True, slots=True)
class Alike:
    """What two runs have in common that last about as long as each other."""

    kind: str
    steps: int | None  # None: as many as the epochs give
    ranks: int
    model: str  # which, and what of it is trained


def alike(spec: AnySpec, ranks: int) -> Alike | None:
    """Return what a run is compared by; None for kinds that have no steps."""
    if not isinstance(spec, TrainedSpec):
        return None
    steps = spec.train.steps
    model = json.dumps([spec.model.model_dump(mode="json"), None if steps else [spec.train.epochs, spec.data.train]])
    return Alike(spec.kind, steps, ranks, model)


def expected_seconds(spec: AnySpec, ranks: int, finished: Iterable[tuple[Alike, float]]) -> float | None:
    """Return how long a queued run will last from its first step to its last: the median of the last ones like it.

    finished: runs that succeeded, oldest first, and how long each took.
    """
    if isinstance(spec, SimSpec):
        return spec.steps * spec.step_seconds
    like = alike(spec, ranks)
    seconds = [] if like is None else [lasted for other, lasted in finished if other == like]
    return statistics.median(seconds[-_RECENT:]) if seconds else None
