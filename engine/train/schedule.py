"""The learning rate as a pure function of the step, so that it needs no state to resume."""

from __future__ import annotations

import math

from engine.spec.sections import Schedule


def learning_rate(schedule: Schedule, peak: float, step: int, total_steps: int) -> float:
    """Return the learning rate of optimiser step `step` (1 … total_steps).

    The warm-up rises linearly from 0 (at step 0) to `peak` (at step `warmup_steps`); the decay ends at
    `final_fraction` of the peak at the last step.
    """
    if step < schedule.warmup_steps:
        return peak * step / schedule.warmup_steps
    decay_steps = total_steps - schedule.warmup_steps
    progress = min(1.0, (step - schedule.warmup_steps) / decay_steps) if decay_steps > 0 else 0.0
    if schedule.kind == "constant":
        share = 1.0
    elif schedule.kind == "linear":
        share = 1.0 - progress
    else:
        share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return peak * (schedule.final_fraction + (1.0 - schedule.final_fraction) * share)
