"""How long a run still takes: one rule for all who tell it, and for the dispatcher that plans with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.telemetry.states import State

if TYPE_CHECKING:
    from engine.store.attempts import Attempt
    from engine.store.experiment import Experiment

_ENOUGH_STEPS = 10  # of this attempt, after which its own pace counts, evaluations and checkpoints included


def seconds_left(experiment: Experiment, newest: Attempt | None, now: float) -> float | None:
    """Return the seconds until a run has taken its last step; null where nobody can say.

    It is the steps that are left at the pace of its newest attempt; before that has taken ten steps, at the pace that
    the run measured last.

    Args:
        experiment: the run; of one that is not running there is nothing to say.
        newest: its newest attempt; null: it is not known.
        now: seconds since the epoch.
    """
    if experiment.state is not State.RUNNING or not experiment.total_steps:
        return None
    pace = _measured(experiment.last)
    if newest is not None and newest.started_at is not None and now > newest.started_at:
        done = experiment.step - (newest.resumed_step or 0)
        pace = (now - newest.started_at) / done if done >= _ENOUGH_STEPS else pace
    if pace is None or not math.isfinite(pace) or pace < 0:
        return None
    return max(0, experiment.total_steps - experiment.step) * pace


def _measured(last: Mapping[str, float]) -> float | None:
    """Return the seconds of a step as a run tells them: a step of an index is a chunk."""
    chunks = last.get("chunks_per_second")
    return 1 / chunks if chunks is not None and chunks > 0 else last.get("seconds_per_step")
