"""MC1 and MC2 are those of TruthfulQA's reference."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluate.multiple_choice import mc1, mc2

LOG_PROBABILITIES = st.lists(st.floats(-600, 0), min_size=1, max_size=8)


def test_choices_have_the_values_worked_out_by_hand() -> None:
    right, wrong = [math.log(0.2), math.log(0.1)], [math.log(0.15), math.log(0.05)]
    assert mc1(right[0], wrong) and not mc1(right[1], wrong)
    assert mc2(right, wrong) == pytest.approx(0.3 / 0.5)
    assert not mc1(-2.0, [-2.0, -9.0])  # a tie is a miss


@settings(max_examples=40)
@given(LOG_PROBABILITIES, LOG_PROBABILITIES)
def test_mc2_is_the_reference_definition(right: list[float], wrong: list[float]) -> None:
    mass = np.exp(right).sum()
    assert mc2(right, wrong) == pytest.approx(mass / (mass + np.exp(wrong).sum()), abs=1e-12)
    assert mc2(right, wrong) + mc2(wrong, right) == pytest.approx(1.0)


def test_mc2_holds_where_probabilities_underflow() -> None:
    assert mc2([-2000.0], [-2000.0 + math.log(3)]) == pytest.approx(0.25)
    assert mc2([-1e6, -1e6], [-1e6]) == pytest.approx(2 / 3)
