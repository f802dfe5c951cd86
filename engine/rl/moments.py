"""Count, mean and variance of values that lie on many ranks, as one number each and exactly mergeable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from engine.rl.masking import masked_sum


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Three float64 scalars. `packed` and `merged` are all that a trainer needs to gather them over ranks."""

    count: Tensor
    mean: Tensor  # 0 when the count is 0
    squares: Tensor  # Σ (x − mean)²

    @classmethod
    def of(cls, values: Tensor, mask: Tensor) -> Self:
        """Return the moments of `values` where `mask` is true.

        Raises:
            ValueError: the shapes differ.
        """
        exact = values.detach().double()
        count = mask.sum(dtype=torch.float64)
        mean = masked_sum(exact, mask) / count.clamp_min(1)
        return cls(count, mean, masked_sum((exact - mean).square(), mask))

    @classmethod
    def merged(cls, packed: Tensor) -> Self:
        """Return the moments of all values together, from [parts, 3] of `packed` ones.

        Σ (x − mean)² is summed about each part's own mean and then shifted, which keeps its digits where Σx² − (Σx)²/n
        would cancel them. Source: Chan, Golub and LeVeque 1983.
        """
        counts, means, squares = packed.unbind(-1)
        count = counts.sum()
        mean = (counts * means).sum() / count.clamp_min(1)
        return cls(count, mean, (squares + counts * (means - mean).square()).sum())

    def packed(self) -> Tensor:
        """Return [count, mean, squares]: float64 [3], to be gathered."""
        return torch.stack([self.count, self.mean, self.squares])

    @property
    def variance(self) -> Tensor:
        """Σ (x − mean)² / count: that of the population, 0 when there is none."""
        return self.squares / self.count.clamp_min(1)
