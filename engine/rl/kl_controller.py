"""The weight of the divergence in the reward, over the episodes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

from engine.errors import InvalidInput

# Largest relative error of the divergence that is acted on.
_ERROR_LIMIT = 0.2


@dataclass(frozen=True, slots=True)
class FixedKlController:
    """A weight that stays: `kl_coef`, reward per nat."""

    kl_coef: float

    def stepped(self, kl: float, episodes: int) -> Self:
        """Return itself; `kl` and `episodes` as for the adaptive one."""
        return self


@dataclass(frozen=True, slots=True)
class AdaptiveKlController:
    """A weight that holds the divergence near a target. Source: Ziegler et al. 2019, section 2.2.

    Its fields are its whole state: `dataclasses.asdict` is what a checkpoint keeps.

    Raises:
        InvalidInput: a number is not above 0.
    """

    kl_coef: float  # reward per nat
    target: float  # nats per *sequence*, not per token
    horizon: float  # episodes

    def __post_init__(self) -> None:
        for name in ("kl_coef", "target", "horizon"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InvalidInput(f"adaptive KL: {name} {value} is not a finite number above 0")

    def stepped(self, kl: float, episodes: int) -> Self:
        """Return the controller after `episodes` episodes of mean divergence `kl`, nats per sequence.

        kl_coef ← kl_coef · (1 + clip(kl / target − 1, −0.2, 0.2) · episodes / horizon).

        Raises:
            InvalidInput: the divergence is not a number, or a step is so long that the weight could fall to 0.
        """
        if math.isnan(kl):
            raise InvalidInput("the divergence is not a number", hint="The policy or the reference gives NaN.")
        if _ERROR_LIMIT * episodes >= self.horizon:
            raise InvalidInput(
                f"adaptive KL: {episodes} episodes a step are too many for horizon {self.horizon}",
                hint="Take a horizon of at least the episodes of a step.",
            )
        error = min(max(kl / self.target - 1.0, -_ERROR_LIMIT), _ERROR_LIMIT)
        return replace(self, kl_coef=self.kl_coef * (1.0 + error * episodes / self.horizon))


KlController = FixedKlController | AdaptiveKlController
