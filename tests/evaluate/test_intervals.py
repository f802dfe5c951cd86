"""Intervals and tests of figures: SciPy's values, and intervals that cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from engine.evaluate.intervals import Ratio, bootstrap, mcnemar, mean_of, paired_bootstrap, wilson


@settings(max_examples=40)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemars_p_is_scipys(first: int, second: int) -> None:
    golden = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(golden, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_mcnemars_p_is_exact_for_many_questions() -> None:
    assert mcnemar(9_700, 10_300) == pytest.approx(binomtest(9_700, 20_000).pvalue, rel=1e-9)


@settings(max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 1000), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_interval_is_scipys(successes: int, trials: int, level: float) -> None:
    successes = min(successes, trials)
    ours = wilson(successes, trials, level)
    golden = binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert ours is not None and 0 <= ours.low <= ours.value <= ours.high <= 1
    assert (ours.low, ours.high) == pytest.approx((golden.low, golden.high), abs=1e-12)


def test_nothing_has_no_interval() -> None:
    assert wilson(0, 0) is None
    assert bootstrap({"a": mean_of([])}) == {"a": None}
    assert bootstrap({"a": Ratio.of([0, 0], [0, 0])}) == {"a": None}
    assert bootstrap({}) == {}


def test_bootstrap_intervals_cover_the_truth_as_often_as_they_say() -> None:
    draw = np.random.Generator(np.random.PCG64(11))
    worlds, questions = 300, 120
    covered = {"rate": 0, "ratio": 0}
    for seed in range(worlds):
        attempted = draw.random(questions) < 0.7
        wrong = attempted & (draw.random(questions) < 0.3)
        figures = {"rate": mean_of(wrong), "ratio": Ratio.of(wrong, attempted)}
        for name, found in bootstrap(figures, resamples=300, seed=seed).items():
            assert found is not None
            covered[name] += found.low <= {"rate": 0.21, "ratio": 0.3}[name] <= found.high
    # 95 in a hundred, give or take three standard errors of 300 worlds, and one that small samples cost.
    assert all(0.90 <= count / worlds <= 0.99 for count in covered.values()), covered


def test_a_bootstrap_is_the_same_whatever_else_is_asked_and_on_every_machine() -> None:
    figure = mean_of(np.arange(40) % 3 == 0)
    alone = bootstrap({"a": figure}, seed=5)
    together = bootstrap({"b": mean_of(np.ones(40)), "a": figure}, seed=5)
    assert together["a"] == alone["a"] and alone["a"] is not None
    assert (alone["a"].value, alone["a"].low, alone["a"].high) == pytest.approx((0.35, 0.2, 0.5))
    assert bootstrap({"a": figure}, seed=6, resamples=51) != bootstrap({"a": figure}, seed=7, resamples=51)


def test_a_bootstrap_in_parts_is_one_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = {"a": mean_of(np.sin(np.arange(50)))}
    whole = bootstrap(figure, resamples=64)
    monkeypatch.setattr("engine.evaluate.intervals._DRAWS", 350)
    assert bootstrap(figure, resamples=64) == whole


def test_pairing_sees_a_small_difference_that_hard_questions_would_hide() -> None:
    draw = np.random.Generator(np.random.PCG64(3))
    hard = draw.random(400)
    before, after = hard, hard + 0.02 + 0.01 * draw.standard_normal(400)
    paired = paired_bootstrap({"x": mean_of(before)}, {"x": mean_of(after)})["x"]
    assert paired is not None and paired.low > 0.015 and paired.high < 0.025
    alone = bootstrap({"before": mean_of(before), "after": mean_of(after)})
    assert alone["before"] is not None and alone["after"] is not None
    assert alone["before"].high > alone["after"].low  # apart, they cannot be told from each other


def test_differences_turn_their_sign_with_the_order_and_are_none_where_undefined() -> None:
    draw = np.random.Generator(np.random.PCG64(8))
    first, second = ({"x": mean_of(draw.random(60)), "y": Ratio.of(np.ones(60), np.zeros(60))} for _ in range(2))
    there, back = paired_bootstrap(first, second), paired_bootstrap(second, first)
    assert there["y"] is None and there["x"] is not None and back["x"] is not None
    assert there["x"].value == -back["x"].value
    assert (there["x"].low, there["x"].high) == pytest.approx((-back["x"].high, -back["x"].low))


def test_figures_of_different_questions_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different questions"):
        paired_bootstrap({"x": mean_of([1, 0])}, {"x": mean_of([1, 0, 1])})
