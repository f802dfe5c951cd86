"""The learning rate over the steps."""

from __future__ import annotations

import pytest

from engine.spec.sections import Schedule
from engine.train.schedule import learning_rate

PEAK = 2.0


def rates(total_steps: int, **settings: object) -> list[float]:
    schedule = Schedule.model_validate(settings)
    return [learning_rate(schedule, PEAK, step, total_steps) for step in range(1, total_steps + 1)]


def test_cosine_with_warm_up_has_its_golden_values() -> None:
    golden = [0.5, 1.0, 1.5, 2.0, 1.8794228634, 1.55, 1.1, 0.65, 0.3205771366, 0.2]
    assert rates(10, kind="cosine", warmup_steps=4, final_fraction=0.1) == pytest.approx(golden, abs=1e-9)


def test_linear_decay_has_its_golden_values() -> None:
    assert rates(5, kind="linear", warmup_steps=1, final_fraction=0.5) == pytest.approx([2.0, 1.75, 1.5, 1.25, 1.0])


def test_constant_stays_at_the_peak_whatever_the_final_fraction() -> None:
    assert rates(4, kind="constant", warmup_steps=2, final_fraction=0.1) == [1.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup_steps", [0, 1, 7, 8, 20])
def test_it_rises_to_the_peak_then_never_rises_again_and_never_leaves_its_bounds(kind: str, warmup_steps: int) -> None:
    values = rates(8, kind=kind, warmup_steps=warmup_steps, final_fraction=0.25)
    top = values.index(max(values))
    assert values[: top + 1] == sorted(values[: top + 1])
    assert values[top:] == sorted(values[top:], reverse=True)
    assert all(0.0 < value <= PEAK for value in values)
    if warmup_steps < 8:
        assert values[-1] == pytest.approx(PEAK if kind == "constant" else 0.25 * PEAK)
