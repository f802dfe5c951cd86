"""How long a run still takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.store import attempts, experiments
from engine.store.attempts import Attempt
from engine.store.database import Store
from engine.store.experiment import Experiment
from engine.store.remaining import seconds_left
from engine.telemetry.states import State
from tests.store.conftest import create


@pytest.fixture
def running(store: Store) -> tuple[Experiment, Attempt]:
    """A run of 100 steps of 2 s each that went on at step 20, 100 s ago."""
    identity = create(store)
    newest = attempts.begin(store, identity, run_dir="/runs", placement=[])
    experiment = replace(experiments.get(store, identity), state=State.RUNNING, total_steps=100)
    known = replace(newest, resumed_step=20, started_at=900.0)
    return replace(experiment, last={"seconds_per_step": 2.0}), known


def test_after_some_steps_the_pace_of_the_attempt_counts_with_its_evaluations(
    running: tuple[Experiment, Attempt],
) -> None:
    experiment, newest = running
    assert seconds_left(replace(experiment, step=25), newest, 1000.0) == 75 * 2.0
    assert seconds_left(replace(experiment, step=40), newest, 1000.0) == 60 * 5.0
    assert seconds_left(replace(experiment, step=40), replace(newest, started_at=None), 1000.0) == 60 * 2.0
    assert seconds_left(replace(experiment, step=40), None, 1000.0) == 60 * 2.0
    assert seconds_left(replace(experiment, step=100), newest, 1000.0) == 0.0
    assert seconds_left(replace(experiment, step=120), newest, 1000.0) == 0.0
    index = replace(experiment, step=25, last={"chunks_per_second": 4.0})
    assert seconds_left(index, newest, 1000.0) == 75 / 4


@pytest.mark.parametrize("pace", [None, float("nan"), float("inf"), -1.0])
def test_nobody_can_say_without_steps_or_a_pace(running: tuple[Experiment, Attempt], pace: float | None) -> None:
    experiment, newest = running
    known = replace(experiment, step=3, last={} if pace is None else {"seconds_per_step": pace})
    assert seconds_left(known, newest, 1000.0) is None
    assert seconds_left(replace(experiment, total_steps=None), newest, 1000.0) is None
    assert seconds_left(replace(experiment, state=State.QUEUED), newest, 1000.0) is None
