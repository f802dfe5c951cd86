"""Masked tokens are not read, whatever they hold."""

from __future__ import annotations

import pytest
import torch

from engine.rl.masking import last_position, masked_sum, require_same_shape, sequence_sums


def test_masked_nan_reaches_neither_sum_nor_gradient() -> None:
    values = torch.tensor([[1.0, torch.nan], [torch.inf, 3.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [False, True]])
    total = masked_sum(values, mask)
    total.backward()
    assert total.item() == 4.0
    assert values.grad is not None and torch.equal(values.grad, mask.float())
    assert sequence_sums(values, mask).tolist() == [1.0, 3.0]


def test_the_last_position_is_found_between_pads_on_either_side() -> None:
    mask = torch.tensor([[0, 1, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=torch.bool)
    assert last_position(mask).tolist() == [2, 3, 0, 0]


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match=r"scores \(2,\), mask \(2, 3\)"):
        require_same_shape(scores=torch.zeros(2), mask=torch.zeros(2, 3))
