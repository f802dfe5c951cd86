"""Answers are judged claim by claim; one that claims nothing is neither grounded nor not."""

from __future__ import annotations

from collections.abc import Sequence

from engine.evaluate.faithfulness.scorer import Pair
from engine.evaluate.faithfulness.support import claims_of, support, supports, weakest_support
from engine.evaluate.faithfulness.words import Exact, Lexical
from engine.evaluate.grounded import Cited, Claim, ground
from engine.generate.citations import Statement

PHRASES = ("I don't know", "unknown")
PASSAGES = ("Ada was born in Oslo.", "Bo bakes bread.")


def test_claims_are_the_sentences_that_state_something() -> None:
    assert claims_of("Ada is from Oslo [1]. I don't know the rest.", PHRASES) == [Statement("Ada is from Oslo.", (1,))]
    assert [one.text for one in claims_of("I don't know, but it is Oslo.", PHRASES)] == [
        "I don't know, but it is Oslo."
    ]
    for nothing in ("", "I don't know.", "Unknown", "I don't know. The passages do not say.", "[1]"):
        assert claims_of(nothing, PHRASES) == []


def test_groundedness_is_the_share_of_supported_claims_and_undefined_without() -> None:
    answers = ["Ada was born in Oslo [1]. Bo bakes cake [2].", "unknown", "Bo bakes bread.", "Oslo"]
    found = support(answers, [PASSAGES, PASSAGES, PASSAGES, ()], Lexical(threshold=0.75), abstentions=PHRASES)
    assert [one.groundedness for one in found] == [0.5, None, 1.0, 0.0]
    assert [one.unsupported for one in found] == [1, 0, 0, 1]
    assert [one.weakest for one in found] == [2 / 3, None, 1.0, 0.0]
    first, second = found[0].claims
    assert (first.cited, first.score, first.supported) == ((1,), 1.0, True)
    assert (second.text, second.supported) == ("Bo bakes cake.", False)
    check = weakest_support(Lexical(), PHRASES)
    assert check(answers, [PASSAGES, PASSAGES, PASSAGES, ()], [""] * 4) == [2 / 3, None, 1.0, 0.0]


class Counting(Exact):
    """Exact support that counts how often it is asked."""

    calls: list[Sequence[Pair]] = []  # noqa: RUF012

    def score(self, pairs: Sequence[Pair]) -> list[float]:
        self.calls.append(pairs)
        return super().score(pairs)


def test_a_scorer_is_called_once_with_all_claims_and_their_questions() -> None:
    scorer = Counting()
    scorer.calls.clear()
    support(["Oslo. Rome.", "unknown", "bread"], [PASSAGES] * 3, scorer, questions=["a", "b", "c"], abstentions=PHRASES)
    ((*pairs,),) = scorer.calls
    assert [(pair.claim, pair.question) for pair in pairs] == [("Oslo.", "a"), ("Rome.", "a"), ("bread", "c")]
    support(["unknown"], [PASSAGES], scorer, abstentions=PHRASES)
    assert len(scorer.calls) == 1


def test_a_scorer_judges_citations() -> None:
    answer = Cited((Claim("Oslo", (1,)), Claim("bread", (1,)), Claim("Rome", (3,))), PASSAGES)
    (found,) = ground([answer], supports(Exact()))
    assert (found.claims, found.grounded, found.recalled, found.citations, found.precise) == (3, 2, 1, 3, 1)
