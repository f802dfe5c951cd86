"""The reward model's loss, its accuracy and its calibration."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rl.preference import (
    bradley_terry_correct,
    calibration_table,
    expected_calibration_error,
    pairwise_loss,
    preference_calibration,
)

pairs = st.lists(
    st.tuples(st.floats(-30, 30), st.floats(-30, 30), st.floats(0, 2), st.floats(0, 1)), min_size=1, max_size=8
)


@given(pairs, st.floats(0.0, 1.0))
def test_the_loss_is_its_formula(pairs: list[tuple[float, float, float, float]], centering: float) -> None:
    chosen, rejected, margin, weights = torch.tensor(pairs, dtype=torch.float64).unbind(-1)
    result = pairwise_loss(chosen, rejected, margin=margin, centering=centering, weights=weights)
    expected = sum(w * (math.log1p(math.exp(r - c + m)) + centering * (c + r) ** 2) for c, r, m, w in pairs)
    assert result.loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert result.pairs.item() == pytest.approx(weights.sum().item())
    assert result.correct.item() == pytest.approx(sum(w for c, r, _, w in pairs if c > r))
    assert result.margin.item() == pytest.approx(sum(w * (c - r) for c, r, _, w in pairs), abs=1e-9)


def test_it_pulls_the_chosen_answer_up_and_the_rejected_one_down_more_the_more_wrong_it_is() -> None:
    chosen = torch.tensor([2.0, 0.0, -2.0, -1e4], requires_grad=True)
    rejected = torch.tensor([0.0, 0.0, 0.0, 1e4], requires_grad=True)
    pairwise_loss(chosen, rejected).loss.backward()
    assert chosen.grad is not None and rejected.grad is not None
    assert (chosen.grad < 0).all() and torch.equal(chosen.grad, -rejected.grad)
    assert chosen.grad.diff().lt(0).all()
    assert chosen.grad[1] == -0.5 and chosen.grad[3] == -1.0


def test_a_margin_asks_for_more_and_does_not_change_what_counts_as_correct() -> None:
    one, two = torch.tensor([1.0]), torch.tensor([0.5])
    plain, wide = pairwise_loss(one, two), pairwise_loss(one, two, margin=torch.tensor([3.0]))
    assert wide.loss > plain.loss
    assert wide.correct == plain.correct == 1


def test_centering_moves_the_mean_of_a_pair_to_zero_and_leaves_its_difference() -> None:
    chosen = torch.tensor([7.0], dtype=torch.float64, requires_grad=True)
    rejected = torch.tensor([6.0], dtype=torch.float64, requires_grad=True)
    plain = torch.autograd.grad(pairwise_loss(chosen, rejected).loss, [chosen, rejected])
    centred = torch.autograd.grad(pairwise_loss(chosen, rejected, centering=0.01).loss, [chosen, rejected])
    pull = [after - before for before, after in zip(plain, centred, strict=True)]
    assert [one.item() for one in pull] == pytest.approx([2 * 0.01 * 13.0] * 2)
    assert plain[0] + plain[1] == 0  # without it nothing holds the mean


def test_weights_let_each_prompt_count_once_whatever_the_number_of_its_answers() -> None:
    scores = torch.tensor([0.4, -0.2, 1.0, 0.7])  # best first
    first, second = torch.combinations(torch.arange(4)).unbind(-1)
    weighted = pairwise_loss(scores[first], scores[second], weights=torch.full((6,), 1 / 6))
    assert weighted.pairs.item() == pytest.approx(1.0)
    assert weighted.loss.item() == pytest.approx(pairwise_loss(scores[first], scores[second]).loss.item() / 6)


def test_a_tie_is_not_correct() -> None:
    assert bradley_terry_correct(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0])).tolist() == [
        True,
        False,
        False,
    ]


def test_calibration_error_of_a_constructed_case_is_exact() -> None:
    # Of ten: four at .95 of which three came true, four at .65 of which one did, two at .15 of which none did.
    confidence = torch.tensor([0.95] * 4 + [0.65] * 4 + [0.15] * 2, dtype=torch.float64)
    outcome = torch.tensor([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], dtype=torch.float64)
    table = calibration_table(confidence, outcome)
    assert table[:, 0].tolist() == [0, 2, 0, 0, 0, 0, 4, 0, 0, 4]
    expected = 0.4 * abs(0.75 - 0.95) + 0.4 * abs(0.25 - 0.65) + 0.2 * 0.15
    assert expected_calibration_error(table).item() == pytest.approx(expected, abs=1e-12)
    halves = sum(calibration_table(confidence[part], outcome[part]) for part in (slice(0, 3), slice(3, 10)))
    torch.testing.assert_close(halves, table)


def test_every_confidence_has_a_bin() -> None:
    edges = torch.linspace(0, 1, 6, dtype=torch.float64)
    assert calibration_table(edges, edges, bins=5)[:, 0].tolist() == [2, 1, 1, 1, 1]
    assert expected_calibration_error(torch.zeros(10, 3)).item() == 0.0


def test_calibration_error_of_a_perfect_model_tends_to_zero_and_of_an_overconfident_one_does_not() -> None:
    source = torch.Generator().manual_seed(0)
    errors = []
    for size in (300, 30_000, 3_000_000):
        difference = 2.0 * torch.randn(size, generator=source, dtype=torch.float64)
        first_is_chosen = torch.rand(size, generator=source) < difference.sigmoid()
        chosen = torch.where(first_is_chosen, difference, 0)
        rejected = torch.where(first_is_chosen, 0, difference)
        errors.append(expected_calibration_error(preference_calibration(chosen, rejected)).item())
        bold = expected_calibration_error(preference_calibration(3 * chosen, 3 * rejected)).item()
        assert bold > 0.1
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 2e-3


def test_a_model_that_cannot_tell_is_calibrated() -> None:
    same = torch.tensor([3.0, -1.0])
    assert expected_calibration_error(preference_calibration(same, same)).item() == 0.0


def test_what_cannot_be_is_refused() -> None:
    row = torch.zeros(2)
    with pytest.raises(InvalidInput, match="centering"):
        pairwise_loss(row, row, centering=-1.0)
    with pytest.raises(InvalidInput, match="bins"):
        calibration_table(row, row, bins=0)
    with pytest.raises(ValueError, match="margin"):
        pairwise_loss(row, row, margin=torch.zeros(1))
