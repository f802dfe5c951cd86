"""Support by words says what its definition says, and each premise stands for itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluate.faithfulness.naming import scorer_from
from engine.evaluate.faithfulness.scorer import Pair
from engine.evaluate.faithfulness.words import Exact, Lexical, LexicalBigrams

ADA = "Ada Lovelace (born 1815) wrote 1,000 notes in London; she never lived in Rome."
SCORERS = (Exact(), Lexical(), LexicalBigrams())
TEXT = st.text(alphabet=st.sampled_from("abc the is 1.,-\n东é"), max_size=30)


def score(scorer: Any, claim: str, *premises: str, **more: Any) -> float:
    (value,) = scorer.score([Pair(premises, claim, **more)])
    return float(value)


def test_exact_support_is_word_for_word() -> None:
    supported = ["Ada Lovelace", "1815", "1000 notes", "the London", "BORN 1815", ADA]
    assert [score(Exact(), claim, ADA) for claim in supported] == [1.0] * len(supported)
    others = ["Ada was born in 1815", "Love", "100", "00 notes", "Lovelace Ada", "", " ", "?"]
    assert [score(Exact(), claim, ADA) for claim in others] == [0.0] * len(others)


def test_the_parts_of_a_fact_must_stand_in_one_premise() -> None:
    fact = {"parts": ("Ada", "Oslo")}
    assert score(Exact(), "She is from Oslo.", "Bo is from Oslo.", "Ada: from Oslo.", **fact) == 1.0
    assert score(Exact(), "She is from Oslo.", "Bo is from Oslo.", "Ada bakes.", **fact) == 0.0


@pytest.mark.parametrize(
    ("claim", "words", "bigrams"),
    [
        ("Ada wrote notes.", 3 / 3, 0 / 2),  # other words stand between
        ("She was writing the notes in Paris", 1 / 3, 1 / 6),  # notes; and of all six pairs, notes in
        ("Ada, Ada!", 1 / 2, 0 / 1),  # a word counts as often as both have it
        ("Paris", 0.0, 0.0),
        ("London", 1.0, 1.0),
        ("was not", 0.0, 0.0),  # nothing but stop words: all count
        ("Ada lived in Rome", 3 / 3, 2 / 3),  # blind to negation
    ],
)
def test_lexical_support_is_the_share_of_content_words(claim: str, words: float, bigrams: float) -> None:
    assert score(Lexical(), claim, ADA) == pytest.approx(words)
    assert score(LexicalBigrams(), claim, ADA) == pytest.approx(bigrams)


@given(claim=TEXT, premises=st.lists(TEXT, max_size=3), more=TEXT)
def test_another_premise_never_takes_support_away(claim: str, premises: list[str], more: str) -> None:
    for scorer in SCORERS:
        value = score(scorer, claim, *premises)
        assert 0 <= value <= 1
        assert score(scorer, claim, *premises, more) == max(value, score(scorer, claim, more))
        assert not premises or value == max(score(scorer, claim, premise) for premise in premises)


@given(claim=TEXT, before=TEXT, after=TEXT)
def test_what_a_premise_states_word_for_word_has_full_support(claim: str, before: str, after: str) -> None:
    premise = f"{before} {claim} {after}"
    says = bool(Lexical().score([Pair((claim,), claim)])[0])
    for scorer in SCORERS[1:]:
        assert score(scorer, claim, premise) == float(says)


def test_no_premise_supports_nothing() -> None:
    assert [score(scorer, "Ada") for scorer in SCORERS] == [0.0] * 3
    assert [scorer.score([]) for scorer in SCORERS] == [[]] * 3


def test_scorers_have_their_names() -> None:
    for scorer in SCORERS:
        found = scorer_from(scorer.name, threshold=0.125)
        assert type(found) is type(scorer) and found.threshold == 0.125
        assert scorer_from(scorer.name).threshold == scorer.threshold
