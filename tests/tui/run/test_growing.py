"""Series that grow keep equal steps once, whatever order they are read in."""

from __future__ import annotations

import numpy as np

from engine.store.point_arrays import PointArrays
from tui.run.curves import Curve
from tui.run.growing import Growing


def points(first: int, last: int, value: float, *, attempt: int = 1, every: int = 1) -> PointArrays:
    """Points of the steps from `first` to `last`."""
    steps = np.arange(first, last + 1, every)
    return PointArrays(np.full(steps.size, attempt), steps, steps * 2.0, np.full(steps.size, value))


def as_lists(curve: Curve) -> list[list[float]]:
    return [curve.attempt.tolist(), curve.step.tolist(), curve.time.tolist(), curve.value.tolist()]


def expected(*parts: PointArrays) -> list[list[float]]:
    return [
        np.concatenate([getattr(part, field) for part in parts]).tolist()
        for field in ("attempt", "step", "time", "value")
    ]


def test_series_that_are_measured_together_have_their_steps_in_common() -> None:
    growing = Growing()
    for last in (10, 500, 501):
        for name in ("loss", "lr", "kl"):
            growing.extend(name, points(growing.ends.get(name, (1, 0))[1] + 1, last, 1.0))
    growing.extend("eval_loss", points(50, 500, 2.0, every=50))
    curves = growing.curves()
    assert curves["loss"].step is curves["lr"].step and curves["kl"].time is curves["lr"].time
    assert curves["eval_loss"].step.tolist() == list(range(50, 501, 50))
    assert all(as_lists(curves[name]) == expected(points(1, 501, 1.0)) for name in ("loss", "lr", "kl"))
    assert growing.ends == {"loss": (1, 501), "lr": (1, 501), "kl": (1, 501), "eval_loss": (1, 500)}


def test_one_that_is_behind_catches_up_and_one_that_goes_elsewhere_has_its_own_steps() -> None:
    growing = Growing()
    growing.extend("loss", points(1, 20, 1.0))
    growing.extend("lr", points(1, 12, 2.0))
    growing.extend("skips", points(1, 12, 3.0))
    growing.extend("lr", points(13, 30, 2.0))
    growing.extend("skips", points(14, 16, 3.0))
    growing.extend("loss", points(21, 31, 1.0))
    growing.extend("late", points(31, 40, 4.0))
    curves = growing.curves()
    assert as_lists(curves["loss"]) == expected(points(1, 31, 1.0))
    assert as_lists(curves["lr"]) == expected(points(1, 30, 2.0))
    assert as_lists(curves["skips"]) == expected(points(1, 12, 3.0), points(14, 16, 3.0))
    assert as_lists(curves["late"]) == expected(points(31, 40, 4.0))


def test_what_was_handed_out_stays_as_it_was() -> None:
    growing = Growing()
    growing.extend("loss", points(1, 5, 1.0))
    before = growing.curves()["loss"]
    for step in range(6, 300):
        growing.extend("loss", points(step, step, 9.0))
    assert as_lists(before) == expected(points(1, 5, 1.0))
