"""When a run is expected to end, and how long a queued one will last. Seconds; None: nobody can say."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from engine.spec.models import AnySpec, SimSpec, TrainedSpec

_ENOUGH_STEPS = 10  # of this attempt, after which its own pace counts, evaluations and checkpoints included
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


def expected_end(
    *,
    now: float,
    step: int,
    total_steps: int | None,
    started_at: float | None = None,
    first_step: int = 0,
    seconds_per_step: float | None = None,
) -> float | None:
    """Return when a run is expected to end, in epoch seconds.

    Args:
        now: the time.
        step: how many steps are done, earlier attempts included.
        total_steps: how many there will be.
        started_at: when this attempt began to train.
        first_step: how many steps were done then.
        seconds_per_step: of the last step.
    """
    if not total_steps:
        return None
    done = step - first_step
    pace = seconds_per_step
    if started_at is not None and done >= _ENOUGH_STEPS and now > started_at:
        pace = (now - started_at) / done
    if pace is None or not math.isfinite(pace) or pace < 0:
        return None
    return now + max(0, total_steps - step) * pace
