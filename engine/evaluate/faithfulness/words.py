"""Support by words alone: exact and lexical. No model, and linear in the length of the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

from engine.data.answers import contains_answer
from engine.evaluate.faithfulness.scorer import Pair, best
from engine.rag.searching.terms import Analysis

_ENGLISH = Analysis("english")


@dataclass(frozen=True, slots=True)
class Exact:
    """1 where one premise states the claim word for word, or all of its parts; else 0.

    Case, articles and punctuation are not looked at, and words and numbers are whole (`contains_answer`). Right for
    short answers, and for facts given as parts; hardly ever for a free sentence.
    """

    threshold: float = 1.0
    name: ClassVar[str] = "exact"
    version: ClassVar[str] = "1"
    sha256: ClassVar[None] = None

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return 0 or 1 for each pair."""
        return [best(pair, _states(pair.parts or (pair.claim,))) for pair in pairs]


def _states(parts: Sequence[str]) -> Callable[[str], float]:
    return lambda premise: float(all(contains_answer(premise, (part,)) for part in parts))


@dataclass(frozen=True, slots=True)
class Lexical:
    """Lexical support: the share of a claim's content words that a premise has.

    K-Precision (Adlakha et al. 2023, "Evaluating Correctness and Faithfulness of Instruction-Following Models for
    Question Answering", TACL 2024) over the stems of content words; a word counts as often as both have it. It is blind
    to negation, to who did what to whom, and to all that is said in other words.
    """

    threshold: float = 0.75
    name: ClassVar[str] = "lexical"
    version: ClassVar[str] = "1"
    sha256: ClassVar[None] = None

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the share for each pair, of the premise that has most."""
        return [best(pair, _word_share(pair.claim)) for pair in pairs]


def _word_share(claim: str) -> Callable[[str], float]:
    words = Counter(_ENGLISH.query_terms(claim))
    return lambda premise: (words & _words(premise)).total() / words.total() if words else 0.0


@dataclass(frozen=True, slots=True)
class LexicalBigrams:
    """The share of the claim's pairs of neighbouring words that stand so in a premise; of its word, if it has one.

    It notices changed order and inserted words, which makes it strict with paraphrases.
    """

    threshold: float = 0.5
    name: ClassVar[str] = "lexical:bigram"
    version: ClassVar[str] = "1"
    sha256: ClassVar[None] = None

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        """Return the share for each pair, of the premise that has most."""
        return [best(pair, _bigram_share(pair.claim)) for pair in pairs]


def _bigram_share(claim: str) -> Callable[[str], float]:
    words = _ENGLISH.terms(claim)
    if len(words) < 2:
        return _word_share(claim)
    said = list(pairwise(words))
    return lambda premise: sum(pair in _bigrams(premise) for pair in said) / len(said)


# A passage is asked for each claim of an answer, and for many answers in training.
@lru_cache(maxsize=4096)
def _words(premise: str) -> Counter[str]:
    return Counter(_ENGLISH.terms(premise))


@lru_cache(maxsize=4096)
def _bigrams(premise: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairwise(_ENGLISH.terms(premise)))
