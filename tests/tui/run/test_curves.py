"""Curves: extended by what is new, placed on any x axis."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tui.run.curves import Curve, Curves, XMode


def curve(*parts: tuple[int, range, float], value: float = 1.0) -> Curve:
    """A series of parts (attempt, steps, time of the first one), a second a step."""
    points = [(attempt, step, at + place) for attempt, steps, at in parts for place, step in enumerate(steps)]
    return Curve.of([p[0] for p in points], [p[1] for p in points], [p[2] for p in points], [value] * len(points))


@st.composite
def histories(draw: st.DrawFn) -> Curves:
    """Attempts that resume from one another at any pace, with clocks that may go back."""
    names = draw(st.lists(st.sampled_from(["loss", "eval_loss", "tokens", "kl"]), min_size=1, unique=True))
    attempts = draw(st.lists(st.tuples(st.integers(1, 30), st.floats(0, 1e6)), min_size=1, max_size=4))
    series = {}
    for name in names:
        every = draw(st.integers(1, 5))
        step, parts = 1, []
        for number, (count, at) in enumerate(attempts, start=1):
            parts.append((number, range(step, step + count * every, every), at))
            step += count * every
        series[name] = curve(*parts, value=draw(st.floats(0, 100)))
    return Curves(series)


@settings(max_examples=100)
@given(histories(), st.sampled_from(XMode))
def test_every_point_has_one_place_and_places_ascend(curves: Curves, mode: XMode) -> None:
    if mode not in curves.modes():
        return
    for name, series in curves.series.items():
        x = curves.x(name, mode)
        assert x.shape == series.step.shape and np.isfinite(x).all() and (np.diff(x) >= 0).all()
    assert all(np.isfinite(curves.x_of_steps([0, 3, 1000], mode)))


def test_elapsed_time_leaves_out_the_pause_between_attempts() -> None:
    curves = Curves({"loss": curve((1, range(1, 11), 1000.0), (2, range(11, 21), 9_000_000.0))})
    assert curves.x("loss", XMode.ELAPSED).tolist() == [*range(10), *range(9, 19)]
    assert curves.x_of_steps([10, 15], XMode.ELAPSED) == [9.0, 13.0]


def test_tokens_of_a_step_that_logged_none_lie_between_those_that_did() -> None:
    tokens = Curve.of([1, 1], [10, 20], [0.0, 1.0], [1000.0, 3000.0])
    curves = Curves({"tokens": tokens, "loss": curve((1, range(10, 21, 5), 0.0))})
    assert XMode.TOKENS in curves.modes() and XMode.TOKENS not in Curves({"loss": tokens}).modes()
    assert curves.x("loss", XMode.TOKENS).tolist() == [1000, 2000, 3000]
