"""The Bradley-Terry model of preferences: p(chosen over rejected) = σ(score of chosen − score of rejected)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import InvalidInput
from engine.rl.masking import at_least_float32, require_same_shape


@dataclass(frozen=True, slots=True, eq=False)
class PairwiseLoss:
    """Weighted sums over the pairs of a micro-batch; only `loss` has a gradient. Divide by the `pairs` of the step."""

    loss: Tensor
    pairs: Tensor  # Σ weights: the number of pairs if there are none
    correct: Tensor  # pairs whose chosen answer has the higher score
    margin: Tensor  # Σ score of chosen − score of rejected


def pairwise_loss(
    chosen: Tensor,
    rejected: Tensor,
    *,
    margin: Tensor | None = None,
    centering: float = 0.0,
    weights: Tensor | None = None,
) -> PairwiseLoss:
    """Return Σ weight · (−log σ(r_c − r_r − margin) + centering · (r_c + r_r)²).

    Arguments:
        chosen, rejected: [pairs], the scores of both answers, each read at its last token.
        margin: [pairs], by how much the scores should differ at least (Touvron et al. 2023, eq. 2); None: 0.
        centering: pulls the scores to a mean of 0, which the loss alone leaves open (Eisenstein et al. 2023).
        weights: [pairs]; 1/C(K, 2) for all pairs of K answers lets each prompt count once (Ouyang et al. 2022, eq. 1).

    Raises:
        InvalidInput: `centering` is negative.
        ValueError: the shapes differ.
    """
    if centering < 0:
        raise InvalidInput(f"centering {centering} of the reward loss is negative")
    optional = {name: value for name, value in (("margin", margin), ("weights", weights)) if value is not None}
    require_same_shape(chosen=chosen, rejected=rejected, **optional)
    chosen, rejected = at_least_float32(chosen), at_least_float32(rejected)
    difference = chosen - rejected
    loss = -functional.logsigmoid(difference if margin is None else difference - margin)
    if centering:
        loss = loss + centering * (chosen + rejected).square()
    weights = torch.ones_like(difference) if weights is None else weights
    return PairwiseLoss(
        loss=(weights * loss).sum(),
        pairs=weights.sum(),
        correct=(weights * bradley_terry_correct(chosen, rejected)).sum(),
        margin=(weights * difference.detach()).sum(),
    )


def bradley_terry_correct(chosen: Tensor, rejected: Tensor) -> Tensor:
    """Return which pairs the scores order as the person did: bool [pairs]. A tie is not correct.

    Its mean is the accuracy, over all pairs or over those of a group.
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    return chosen > rejected


def preference_calibration(chosen: Tensor, rejected: Tensor, *, bins: int = 10) -> Tensor:
    """Return the calibration table of the model's bets on pairs: each bet goes on the answer with the higher score.

    Its confidence is σ(|r_c − r_r|), at least ½, and it is right when that answer is the chosen one; a tie is half
    right. The table is float64 [bins, 3], as that of `calibration_table`.
    """
    require_same_shape(chosen=chosen, rejected=rejected)
    difference = (chosen - rejected).detach().double()
    return calibration_table(difference.abs().sigmoid(), 0.5 * (1.0 + difference.sign()), bins=bins)


def calibration_table(confidence: Tensor, outcome: Tensor, *, bins: int = 10) -> Tensor:
    """Return count, Σ confidence and Σ outcome in bins of equal width: float64 [bins, 3].

    Tables of parts add up to that of the whole. `confidence` is [n] in 0 … 1, `outcome` [n] is 1 for what came true and
    0 for what did not. A bin holds its upper bound; the first one holds 0 as well.

    Raises:
        InvalidInput: no bin.
        ValueError: the shapes differ.
    """
    require_same_shape(confidence=confidence, outcome=outcome)
    if bins < 1:
        raise InvalidInput(f"{bins} bins of a calibration table are too few", hint="Take 1 or more.")
    confidence, outcome = confidence.detach().double(), outcome.detach().double()
    bounds = torch.linspace(0.0, 1.0, bins + 1, dtype=torch.float64, device=confidence.device)[1:-1]
    rows = torch.stack([torch.ones_like(confidence), confidence, outcome], dim=-1)
    table = torch.zeros(bins, 3, dtype=torch.float64, device=confidence.device)
    return table.index_add(0, torch.bucketize(confidence, bounds), rows)


def expected_calibration_error(table: Tensor) -> Tensor:
    """Return Σ over bins of share · |mean outcome − mean confidence|: a float64 scalar, 0 for an empty table.

    `table` is a `calibration_table`, summed over ranks. Source: Naeini et al. 2015; Guo et al. 2017, eq. 3.
    """
    count, confidence, outcome = table.unbind(-1)
    return (outcome - confidence).abs().sum() / count.sum().clamp_min(1)
