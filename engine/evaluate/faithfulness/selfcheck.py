"""Support by other answers that the model drew: what it makes up differs from draw to draw, what it knows does not.

SelfCheckGPT (Manakul et al. 2023, EMNLP), without evidence and without another language model. Premises are the drawn
answers; a score is a mean over them, not the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from engine.data.sentences import sentences
from engine.evaluate.faithfulness.entailment import Entailment
from engine.evaluate.faithfulness.scorer import Pair
from engine.rag.searching.terms import Analysis

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

_ENGLISH = Analysis("english")


@dataclass(frozen=True, slots=True)
class SelfCheckUnigram:
    """The share of the drawn answers that have the claim's rarest content word.

    The paper's unigram model with the maximum over words, its best one; a word counts once an answer, so that scores
    do not depend on how long answers are.
    """

    threshold: float = 0.5
    name: ClassVar[str] = "selfcheck:unigram"
    version: ClassVar[str] = "1"
    sha256: ClassVar[None] = None

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the share for each pair."""
        return [_rarest(pair) for pair in pairs]


def _rarest(pair: Pair) -> float:
    said = set(_ENGLISH.query_terms(pair.claim))
    if not said or not pair.premises:
        return 0.0
    drawn = [set(_ENGLISH.terms(sample)) for sample in pair.premises]
    return min(sum(word in sample for sample in drawn) for word in said) / len(drawn)


@dataclass(frozen=True, slots=True)
class SelfCheckEmbeddings:
    """The mean over the drawn answers of the cosine between the claim and the sentence nearest to it, 0 if negative.

    The paper takes BERTScore, token by token; this takes the vectors of an embedder, sentence by sentence.
    """

    encoder: Encoder
    folder: str
    threshold: float = 0.5
    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Return selfcheck:embed:FOLDER."""
        return f"selfcheck:embed:{self.folder}"

    @property
    def sha256(self) -> str:
        """The embedder's fingerprint."""
        return self.encoder.fingerprint

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the mean for each pair."""
        parts = {sample: _parts(sample) for pair in pairs for sample in pair.premises}
        claims = [pair.claim for pair in pairs if pair.claim.strip()]
        texts = list(dict.fromkeys([*claims, *(text for own in parts.values() for text in own)]))
        if not claims:
            return [0.0] * len(pairs)
        vectors = np.nan_to_num(self.encoder.encode_passages(texts))  # a text without a direction supports nothing
        place = {text: row for row, text in enumerate(texts)}

        def nearest(claim: str, sample: str) -> float:
            rows = [place[text] for text in parts[sample]]
            cosine = float((vectors[rows] @ vectors[place[claim]]).max()) if rows else 0.0
            return min(1.0, max(0.0, cosine))

        return [
            _mean([nearest(pair.claim, one) for one in pair.premises]) if pair.claim.strip() else 0.0 for pair in pairs
        ]


def _parts(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@dataclass(frozen=True, slots=True)
class SelfCheckInference:
    """The mean over the drawn answers of how likely they do not contradict the claim, as a cross-encoder reads them."""

    model: Entailment
    sha256: str
    threshold: float = 0.5
    version: ClassVar[str] = "1"

    @property
    def name(self) -> str:
        """Return selfcheck:nli:FOLDER."""
        return f"selfcheck:nli:{self.model.folder}"

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the mean for each pair; a blank drawn answer supports nothing."""
        claims = [f"{pair.question} {pair.claim}".strip() if pair.claim.strip() else "" for pair in pairs]
        asked = [
            (number, (sample, claim))
            for number, (pair, claim) in enumerate(zip(pairs, claims, strict=True))
            for sample in pair.premises
            if claim and sample.strip()
        ]
        told = self.model.probabilities([texts for _, texts in asked], "consistency")
        totals = [0.0] * len(pairs)
        for (number, _), value in zip(asked, told, strict=True):
            totals[number] += value
        return [total / max(1, len(pair.premises)) for pair, total in zip(pairs, totals, strict=True)]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
