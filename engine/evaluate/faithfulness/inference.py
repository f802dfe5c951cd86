"""Support as a cross-encoder reads it: `nli:FOLDER`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from engine.evaluate.faithfulness.entailment import Entailment
from engine.evaluate.faithfulness.scorer import Pair


@dataclass(frozen=True, slots=True)
class Inference:
    """The probability that a premise entails the claim, of the premise that does most.

    A claim with a question is read after it: `Where was Ada born? Oslo` says more than `Oslo`.
    """

    model: Entailment
    sha256: str
    threshold: float = 0.5
    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Return nli:FOLDER."""
        return f"nli:{self.model.folder}"

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the probability for each pair. Raises RunFailed if the model does not compute numbers."""
        asked = [
            (number, (premise, f"{pair.question} {pair.claim}".strip()))
            for number, pair in enumerate(pairs)
            if pair.claim.strip()
            for premise in pair.premises
            if premise.strip()
        ]
        scores = [0.0] * len(pairs)
        told = self.model.probabilities([texts for _, texts in asked])
        for (number, _), value in zip(asked, told, strict=True):
            scores[number] = max(scores[number], value)
        return scores
