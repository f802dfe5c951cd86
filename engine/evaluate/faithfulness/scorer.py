"""What every scorer of support is asked, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pair:
    """A claim, and what may support it."""

    premises: tuple[str, ...]  # passages, or other answers; each stands for itself
    claim: str  # without citations
    question: str = ""  # that the claim answers: a scorer that reads language reads it before a short claim
    parts: tuple[str, ...] = ()  # exact: texts that one premise must hold all of, such as a fact's subject and object


class Scorer(Protocol):
    """Says how well claims are supported. A pair has the same score in any company, but for rounding."""

    @property
    def name(self) -> str:
        """What it is called on a command line and in results."""

    @property
    def version(self) -> str:
        """Changes when the same pairs may have other scores."""

    @property
    def sha256(self) -> str | None:
        """Of the model's folder; None if there is no model."""

    @property
    def threshold(self) -> float:
        """The least score of a claim that counts as supported."""

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return how well the premises support each claim, 0 … 1; 0 where there are none, or the claim is blank."""


def best(pair: Pair, support: Callable[[str], float]) -> float:
    """Return what the premise says that supports the claim best; `support` is 0 … 1."""
    if not pair.claim.strip():
        return 0.0
    return max((support(premise) for premise in pair.premises), default=0.0)
