"""When a run is expected to end, and how long a queued one will last."""

from __future__ import annotations

from typing import Any

import pytest

from engine.dispatch.estimates import alike, expected_end, expected_seconds
from engine.spec.models import SftSpec, SimSpec


def sft(**train: Any) -> SftSpec:
    document = {"model": {"architecture": {}}, "data": {"train": "facts.jsonl"}, "train": {"steps": 100} | train}
    return SftSpec.model_validate(document)


def test_the_end_follows_from_the_steps_that_are_left() -> None:
    assert expected_end(now=1000.0, step=40, total_steps=100, seconds_per_step=2.0) == 1120.0
    assert expected_end(now=1000.0, step=100, total_steps=100, seconds_per_step=2.0) == 1000.0
    assert expected_end(now=1000.0, step=120, total_steps=100, seconds_per_step=2.0) == 1000.0


def test_after_some_steps_the_pace_of_the_attempt_counts_with_its_evaluations() -> None:
    so_far = {"now": 1000.0, "total_steps": 100, "seconds_per_step": 2.0, "started_at": 900.0, "first_step": 20}
    assert expected_end(step=25, **so_far) == 1000.0 + 75 * 2.0
    assert expected_end(step=40, **so_far) == 1000.0 + 60 * 5.0


@pytest.mark.parametrize("pace", [None, float("nan"), float("inf"), -1.0])
def test_nobody_can_say_without_steps_or_a_pace(pace: float | None) -> None:
    assert expected_end(now=1.0, step=3, total_steps=100, seconds_per_step=pace) is None
    assert expected_end(now=1.0, step=3, total_steps=None, seconds_per_step=1.0) is None


def test_a_queued_run_lasts_as_long_as_the_last_ones_like_it() -> None:
    like, other = alike(sft(), 8), alike(sft(steps=900), 8)
    assert like is not None and other is not None
    assert like == alike(sft(lr=0.1), 8) != alike(sft(), 4)
    finished = [(like, 9000.0), *((like, seconds) for seconds in (10.0, 12.0, 11.0, 90.0, 13.0)), (other, 5.0)]
    assert expected_seconds(sft(), 8, finished) == 12.0
    assert expected_seconds(sft(), 16, finished) is None
    assert expected_seconds(sft(), 8, []) is None
    assert expected_seconds(SimSpec(steps=50, step_seconds=0.5), 8, finished) == 25.0
