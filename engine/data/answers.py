"""What an answer is worth: whether it says what is accepted, and whether it abstains.

Answers are compared as SQuAD's evaluation script does (Rajpurkar et al. 2016, `evaluate-v1.1.py`), and judged as in
CRAG (Yang et al. 2024, "CRAG: Comprehensive RAG Benchmark"): correct, missing, or hallucinated.
"""

from __future__ import annotations

import functools
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Literal

Verdict = Literal["correct", "abstained", "hallucinated"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
# A number is one word with its thousands, decimals and unit.
_WORDS = re.compile(r"\d+(?:,\d{3}(?!\d))*(?:\.\d+)?\w*|\w+")
# Where a response turns from abstaining to something else: the end of a sentence, a dash, or a word of contrast.
_TURN = re.compile(
    r"[.!?;:…]+(?=\s|$)|[—–\n]"
    r"|\b(?:but|however|though|although|nevertheless|yet|perhaps|maybe|probably|my guess|i (?:guess|think|believe))\b"
)
_DENIALS = re.compile(
    r"\b(no|not|none|nothing|nobody|nowhere|neither|nor|never|cannot|without|unable|insufficient|unclear|unknown|lacks?"
    r"|missing|sorry|apologies|(ca|wo|do|does|did|is|are|was|were|could|would|have|has)n't)\b"
)


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


@functools.lru_cache(maxsize=4096)
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
    begins = map(_beginning, phrases)
    return any(said.startswith(f"{phrase} ") for phrase in begins if phrase)


@functools.lru_cache(maxsize=1024)  # the same few phrases are looked for in every answer
def _beginning(phrase: str) -> str:
    return normalise(_spaced(phrase))


def abstains_only(response: str, phrases: Iterable[str]) -> bool:
    """Whether a response abstains and leaves it at that: `I don't know, but it is Zelt` says something after all.

    What follows the phrase and a comma, the end of its sentence, or a word of contrast, must abstain too, or deny:
    `I don't know. The passages do not say.` A rule of words, for English; it reads no further than that.
    """
    phrases = tuple(phrases)
    if not abstains(response, phrases):
        return False
    said = unicodedata.normalize("NFKC", response).replace("’", "'").lower()
    first, comma, rest = said.partition(",")
    if comma and any(normalise(first) == normalise(phrase) for phrase in phrases):
        said = f"{first}. {rest}"
    _, *later = _TURN.split(said)
    return all(_DENIALS.search(part) or abstains(part, phrases) for part in later if normalise(part))


def contains_answer(text: str, accepted: Iterable[str]) -> bool:
    """Whether a text holds an accepted answer, word for word: `Ono` is not found in `Onore`.

    As `has_answer` of dense passage retrieval (Karpukhin et al. 2020), but without regard to articles and punctuation,
    and with numbers whole: `1` is in neither `1,000` nor `1.5`, and `1,000` is `1000`.
    """
    held = f" {' '.join(_words(text))} "
    wanted = (" ".join(_words(answer)) for answer in accepted)
    return any(f" {answer} " in held for answer in wanted if answer)


def _words(text: str) -> list[str]:
    found = _WORDS.findall(unicodedata.normalize("NFKC", text).lower())
    words = [word.replace(",", "") for word in found]
    return [word for word in words if not _ARTICLES.fullmatch(word)] or words


def verdict(
    response: str,
    accepted: Iterable[str],
    answerable: bool | None,
    phrases: Iterable[str],
    *,
    f1_from: float | None = None,
    strictly: bool = False,
) -> Verdict:
    """Return what a response is, CRAG's abstention first.

    To a question without an answer (`answerable` is False), all but abstaining is hallucinated. Where nothing is known
    about answers (None, and none accepted), no response is correct: ask only where something is.

    Arguments:
        f1_from: the token F1 from which a response is correct; None: only an accepted answer itself is.
        strictly: a response that abstains and then says something is judged by what it says.
    """
    if abstains_only(response, phrases) if strictly else abstains(response, phrases):
        return "abstained"
    if answerable is False:
        return "hallucinated"
    right = is_exact(response, accepted) if f1_from is None else token_f1(response, accepted) >= f1_from
    return "correct" if right else "hallucinated"
