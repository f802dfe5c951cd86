"""What an answer is worth: whether it says what is accepted, and whether it abstains.

Answers are compared as SQuAD's evaluation script does (Rajpurkar et al. 2016, `evaluate-v1.1.py`), and judged as in
CRAG (Yang et al. 2024, "CRAG: Comprehensive RAG Benchmark"): correct, missing, or hallucinated.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Literal

Verdict = Literal["correct", "abstained", "hallucinated"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """Return a text in the form in which answers are compared: lower case, no punctuation, no articles, single spaces.

    SQuAD's, with two changes: the text is first brought to NFKC, and all punctuation of Unicode counts; a text of
    nothing but articles keeps them, so that `A` stays an answer.
    """
    lowered = unicodedata.normalize("NFKC", text).lower()
    bare = "".join(character for character in lowered if not _is_punctuation(character))
    words = bare.split()
    return " ".join(_ARTICLES.sub(" ", bare).split() or words)


def _spaced(text: str) -> str:
    """Return a text with a space for each punctuation mark that no word holds: `don't` is one word, `no—yes` two."""
    return "".join(" " if _is_punctuation(mark) and mark not in "'’" else mark for mark in text)


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character).startswith("P")


def is_exact(response: str, accepted: Iterable[str]) -> bool:
    """Whether a response is one of the accepted answers, both normalised. One that says nothing never is."""
    said = normalise(response)
    return bool(said) and any(said == normalise(answer) for answer in accepted)


def token_f1(response: str, accepted: Iterable[str]) -> float:
    """Return the F1, 0 … 1, of the words of a response and of the accepted answer that is nearest to it.

    0 if either says nothing, or no answer is accepted. Words count as often as they occur (SQuAD's `f1_score`).
    """
    said = Counter(normalise(response).split())
    return max((_f1(said, Counter(normalise(answer).split())) for answer in accepted), default=0.0)


def _f1(said: Counter[str], wanted: Counter[str]) -> float:
    # 2PR / (P + R) with P = shared / said and R = shared / wanted.
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def abstains(response: str, phrases: Iterable[str]) -> bool:
    """Whether a response begins with one of the phrases, both normalised, and a word ends there."""
    said = normalise(_spaced(response)) + " "
    begins = (normalise(_spaced(phrase)) for phrase in phrases)
    return any(said.startswith(f"{phrase} ") for phrase in begins if phrase)


def verdict(response: str, accepted: Iterable[str], answerable: bool | None, phrases: Iterable[str]) -> Verdict:
    """Return what a response is, CRAG's abstention first.

    To a question without an answer (`answerable` is False), all but abstaining is hallucinated. Where nothing is known
    about answers (None, and none accepted), no response is correct: ask only where something is.
    """
    if abstains(response, phrases):
        return "abstained"
    return "correct" if answerable is not False and is_exact(response, accepted) else "hallucinated"
