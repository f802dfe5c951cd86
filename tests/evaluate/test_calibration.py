"""Confidence against correctness: scikit-learn's values where it has the measure, else worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from engine.evaluate.calibration import aurc, auroc, brier, calibration_error, risk_coverage

# Twelfths make ties, and fall on edges of bins.
CONFIDENCES = st.one_of(st.integers(0, 12).map(lambda number: number / 12), st.floats(0, 1))
ANSWERS = st.lists(st.tuples(CONFIDENCES, st.booleans()), min_size=1, max_size=60)


def arrays(answers: list[tuple[float, bool]]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([one for one, _ in answers], dtype=np.float64), np.array(
        [one for _, one in answers], dtype=np.bool_
    )


@settings(max_examples=40)
@given(ANSWERS)
def test_auroc_is_scikit_learns(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = arrays(answers)
    if correct.all() or not correct.any():
        assert auroc(confidence, correct) is None
    else:
        assert auroc(confidence, correct) == pytest.approx(roc_auc_score(correct, confidence), abs=1e-12)


@settings(max_examples=40)
@given(ANSWERS)
def test_brier_is_scikit_learns(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = arrays(answers)
    assert brier(confidence, correct) == pytest.approx(brier_score_loss(correct, confidence, pos_label=True), abs=1e-12)


@settings(max_examples=40)
@given(ANSWERS)
def test_the_calibration_error_is_that_of_scikit_learns_bins(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = arrays(answers)
    # Its bins hold their lower edges, ours their upper ones.
    assume(not np.isclose(confidence * 15 % 1, [[0], [1]], atol=1e-9).any())
    right, sure = calibration_curve(correct, confidence, n_bins=15, pos_label=True)
    counts = np.histogram(confidence, bins=np.linspace(0, 1, 16))[0]
    golden = float((np.abs(right - sure) * counts[counts > 0]).sum() / correct.size)
    assert calibration_error(confidence, correct) == pytest.approx(golden, abs=1e-12)


@settings(max_examples=40)
@given(ANSWERS, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_changes_nothing(answers: list[tuple[float, bool]], draw: object) -> None:
    shuffled = list(answers)
    draw.shuffle(shuffled)  # type: ignore[attr-defined]
    for measure in (
        auroc,
        aurc,
        brier,
        calibration_error,
        lambda one, other: calibration_error(one, other, bins=4, equal_mass=True),
    ):
        assert measure(*arrays(answers)) == pytest.approx(measure(*arrays(shuffled)), abs=1e-12)


def test_risk_grows_with_coverage_as_worked_out_by_hand() -> None:
    confidence, correct = arrays([(0.9, True), (0.5, False), (0.7, True), (0.7, False), (0.2, False)])
    curve = risk_coverage(confidence, correct)
    assert curve.threshold.tolist() == [0.9, 0.7, 0.5, 0.2]
    assert curve.coverage.tolist() == pytest.approx([1 / 5, 3 / 5, 4 / 5, 1])
    assert curve.risk.tolist() == pytest.approx([0, 1 / 3, 2 / 4, 3 / 5])
    # Given 1 … 5: wrong 0, ½ or 1 of the tied two on average, 1, 2, 3.
    assert aurc(confidence, correct) == pytest.approx((0 + 0.5 / 2 + 1 / 3 + 2 / 4 + 3 / 5) / 5)


@settings(max_examples=40)
@given(ANSWERS)
def test_the_area_under_the_risk_is_between_the_best_and_the_worst_order(answers: list[tuple[float, bool]]) -> None:
    confidence, correct = arrays(answers)
    order = np.arange(correct.size, dtype=np.float64)
    best, worst = aurc(-order, np.sort(correct)[::-1]), aurc(-order, np.sort(correct))
    found = aurc(confidence, correct)
    assert best is not None and worst is not None and found is not None
    assert best - 1e-12 <= found <= worst + 1e-12
    assert aurc(np.zeros(correct.size), correct) == pytest.approx(1 - correct.mean())


def test_the_calibration_error_has_the_values_worked_out_by_hand() -> None:
    confidence, correct = arrays([(0.95, True), (0.95, False), (0.65, True), (0.05, False)])
    # Bins of a fifth: {.95, .95}: ½ right; {.65}: all; {.05}: none.
    assert calibration_error(confidence, correct, bins=5) == pytest.approx((2 * 0.45 + 0.35 + 0.05) / 4)
    # Two bins of two: {.05, .65}: ½ right, .35 sure; {.95, .95}: ½ right.
    assert calibration_error(confidence, correct, bins=2, equal_mass=True) == pytest.approx((0.3 + 0.9) / 4)
    assert calibration_error(*arrays([(0.0, False), (1.0, True)])) == 0.0
    assert calibration_error(*arrays([(0.0, True), (1.0, False)]), equal_mass=True) == 1.0


def test_nothing_has_no_calibration() -> None:
    nothing = arrays([])
    assert auroc(*nothing) is aurc(*nothing) is brier(*nothing) is calibration_error(*nothing) is None
    assert risk_coverage(*nothing).risk.size == 0
