"""How long a queued run will last."""

from __future__ import annotations

from typing import Any

from engine.dispatch.estimates import alike, expected_seconds
from engine.spec.models import SftSpec, SimSpec


def sft(**train: Any) -> SftSpec:
    document = {"model": {"architecture": {}}, "data": {"train": "facts.jsonl"}, "train": {"steps": 100} | train}
    return SftSpec.model_validate(document)


def test_a_queued_run_lasts_as_long_as_the_last_ones_like_it() -> None:
    like, other = alike(sft(), 8), alike(sft(steps=900), 8)
    assert like is not None and other is not None
    assert like == alike(sft(lr=0.1), 8) != alike(sft(), 4)
    finished = [(like, 9000.0), *((like, seconds) for seconds in (10.0, 12.0, 11.0, 90.0, 13.0)), (other, 5.0)]
    assert expected_seconds(sft(), 8, finished) == 12.0
    assert expected_seconds(sft(), 16, finished) is None
    assert expected_seconds(sft(), 8, []) is None
    assert expected_seconds(SimSpec(steps=50, step_seconds=0.5), 8, finished) == 25.0
