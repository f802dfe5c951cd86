"""Which sentences of an answer no passage of its prompt supports, by their words: a hint, not a judgement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from engine.report.comparing.words import Span

_ABSTENTIONS = ("unknown", "i don't know", "i do not know", "i am not sure", "i'm not sure")


def passages_of(prompt: str) -> tuple[str, ...]:
    """Return the lines of a prompt that could support an answer: those before its last one, which is the question."""
    *before, _ = [line.strip() for line in prompt.splitlines() if line.strip()] or [""]
    return tuple(before)


def question_of(prompt: str) -> str:
    """Return what is asked: the last line of a prompt."""
    return next((line.strip() for line in reversed(prompt.splitlines()) if line.strip()), "")


@lru_cache(maxsize=4096)
def unsupported(response: str, passages: tuple[str, ...]) -> tuple[Span, ...]:
    """Return the spans of the sentences that no passage supports, by lexical support; none where there is no passage.

    An abstention claims nothing, nor does a sentence without a word.
    """
    if not passages:
        return ()
    from engine.data.answers import abstains_only
    from engine.data.sentences import sentences
    from engine.evaluate.faithfulness.scorer import Pair
    from engine.evaluate.faithfulness.words import Lexical
    from engine.generate.citations import without_citations

    claims: list[tuple[Span, str]] = []
    for start, end in sentences(response):
        text = without_citations(response[start:end])
        if any(map(str.isalnum, text)) and not abstains_only(text, _ABSTENTIONS):
            claims.append(((start, end), text))
    scorer = Lexical()
    scores = scorer.score([Pair(passages, text) for _, text in claims])
    return tuple(span for (span, _), score in zip(claims, scores, strict=True) if score < scorer.threshold)


def spans_of(response: str, sentences: Sequence[str]) -> tuple[Span, ...]:
    """Return where sentences that an evaluation found unsupported stand in an answer; what is not found is left out.

    They are known without their citations, and are looked for one after the other.
    """
    found: list[Span] = []
    after = 0
    for sentence in sentences:
        head = sentence.strip().rstrip(".!?")
        start = response.find(head, after) if head else -1
        if start >= 0:
            after = start + len(head)
            found.append((start, after))
    return tuple(found)
