"""The weight of the divergence, step by step, and across a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rl.kl_controller import AdaptiveKlController, FixedKlController, KlController


@pytest.mark.parametrize(
    ("kl", "error"),
    [(6.0, 0.0), (6.6, 0.1), (5.4, -0.1), (60.0, 0.2), (-3.0, -0.2)],
    ids=["on target", "10 % over", "10 % under", "far over", "negative"],
)
def test_a_step_is_the_closed_form(kl: float, error: float) -> None:
    after = AdaptiveKlController(kl_coef=0.15, target=6.0, horizon=10_000).stepped(kl, episodes=640)
    assert after.kl_coef == pytest.approx(0.15 * (1.0 + error * 640 / 10_000), rel=1e-12)
    assert (after.target, after.horizon) == (6.0, 10_000)


def test_steps_compound_and_the_error_is_clipped_on_both_sides() -> None:
    controller = AdaptiveKlController(kl_coef=0.1, target=6.0, horizon=1000)
    for _ in range(50):
        controller = controller.stepped(math.inf, episodes=100)
    assert controller.kl_coef == pytest.approx(0.1 * 1.02**50, rel=1e-12)
    for _ in range(50):
        controller = controller.stepped(0.0, episodes=100)
    assert controller.kl_coef == pytest.approx(0.1 * (1.02 * 0.98) ** 50, rel=1e-12)


def test_the_weight_brings_a_divergence_that_answers_to_it_to_the_target() -> None:
    controller, kl = AdaptiveKlController(kl_coef=1.0, target=6.0, horizon=1000), 0.0
    for _ in range(400):
        kl = 0.9 / controller.kl_coef
        controller = controller.stepped(kl, episodes=100)
    assert kl == pytest.approx(6.0, rel=1e-3)


@given(st.floats(1e-6, 10.0), st.floats(0.1, 100.0), st.lists(st.floats(-5.0, 50.0), max_size=10), st.integers(0, 10))
def test_a_checkpoint_keeps_every_digit(kl_coef: float, target: float, kls: list[float], cut: int) -> None:
    whole: KlController = AdaptiveKlController(kl_coef, target, horizon=500.0)
    resumed = whole
    for index, kl in enumerate(kls):
        if index == cut:
            resumed = AdaptiveKlController(**json.loads(json.dumps(dataclasses.asdict(resumed))))
        whole, resumed = whole.stepped(kl, 64), resumed.stepped(kl, 64)
    assert whole == resumed
    assert whole.kl_coef > 0


def test_a_fixed_weight_stays() -> None:
    assert FixedKlController(0.02).stepped(1e9, 64).kl_coef == 0.02


def test_numbers_that_would_break_the_weight_are_refused() -> None:
    for kl_coef, target, horizon in ((0.0, 6.0, 1.0), (0.1, -6.0, 1.0), (0.1, 6.0, math.inf), (math.nan, 6.0, 1.0)):
        with pytest.raises(InvalidInput, match="not a finite number above 0"):
            AdaptiveKlController(kl_coef, target, horizon)
    controller = AdaptiveKlController(0.1, 6.0, 100.0)
    with pytest.raises(InvalidInput, match="not a number"):
        controller.stepped(math.nan, 64)
    with pytest.raises(InvalidInput, match="too many"):
        controller.stepped(0.0, 500)
