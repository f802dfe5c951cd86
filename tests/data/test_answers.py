"""Golden values, worked out by hand from SQuAD's evaluation script and from CRAG's classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.answers import abstains, is_exact, normalise, token_f1, verdict
from engine.spec.ppo import PromptData

PHRASES = PromptData(train="prompts.jsonl").abstentions


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        ("The Eiffel Tower.", "eiffel tower"),
        ("  a  dog, an ape  and\tthe\ncat!", "dog ape and cat"),
        ("Anthem of another theatre", "anthem of another theatre"),  # articles are whole words
        ("I don't know", "i dont know"),
        ("I don’t know…", "i dont know"),
        ("10th-century (A.D.)", "10thcentury ad"),
        ("ﬁve ① Ｋｍ", "five 1 km"),  # NFKC
        ("Zu\u0308rich", "zürich"),  # composed
        ("¿Qué? «Sí»", "qué sí"),
        ("A", "a"),
        ("the. An", "the an"),
        ("?!", ""),
    ],
)
def test_texts_are_compared_in_squads_form(text: str, golden: str) -> None:
    assert normalise(text) == golden


@given(st.text())
def test_what_is_normalised_has_single_spaces_and_no_punctuation(text: str) -> None:
    form = normalise(text)
    assert form == " ".join(form.split()) and not set(form) & set(".,;:!?'’“”–—()")
    assert is_exact(text, [text]) == bool(form)


@pytest.mark.parametrize(
    ("response", "accepted", "exact", "f1"),
    [
        ("France", ["France"], True, 1.0),
        ("the france.", ["Gaul", "France"], True, 1.0),
        ("In France", ["France"], False, 2 / 3),  # P 1/2, R 1
        ("in the 10th century", ["10th and 11th centuries"], False, 2 / 7),  # P 1/3, R 1/4
        ("10th century", ["11th", "in the 10th century"], False, 4 / 5),  # the nearest counts: P 1, R 2/3
        ("no no no", ["no yes no"], False, 2 / 3),  # a word counts as often as both have it
        ("Zelt", ["Ono"], False, 0.0),
        ("Zelt", [], False, 0.0),
        ("", ["Zelt"], False, 0.0),
        ("", ["?"], False, 0.0),  # that both say nothing is no agreement
        ("the", ["A"], False, 0.0),
    ],
)
def test_agreement_has_its_golden_value(response: str, accepted: list[str], exact: bool, f1: float) -> None:
    assert is_exact(response, accepted) == exact
    assert token_f1(response, accepted) == pytest.approx(f1)


@given(st.text(), st.lists(st.text(), max_size=3))
def test_a_second_accepted_answer_never_harms(response: str, accepted: list[str]) -> None:
    assert 0.0 <= token_f1(response, accepted) <= token_f1(response, [*accepted, "Zelt"]) <= 1.0
    assert token_f1(response, accepted) == pytest.approx(1.0) or not is_exact(response, accepted)


@pytest.mark.parametrize(
    ("response", "abstained"),
    [
        ("unknown", True),
        (" Unknown. ", True),
        ("I don’t know who that is.", True),
        ("I don't know—nobody told me", True),
        ("I'm not sure, but it may be Zelt.", True),
        ("unknowns", False),
        ("I do not knowingly lie", False),
        ("It is unknown", False),
        ("Zelt", False),
        ("", False),
    ],
)
def test_who_begins_with_a_phrase_of_abstention_abstains(response: str, abstained: bool) -> None:
    assert abstains(response, PHRASES) == abstained


def test_a_phrase_that_says_nothing_is_no_abstention() -> None:
    assert not abstains("Zelt", ["", "…"]) and not abstains("", ["", "…"])


@pytest.mark.parametrize(
    ("response", "accepted", "answerable", "golden"),
    [
        ("Zelt.", ["Zelt"], True, "correct"),
        ("Zelt.", ["Zelt"], None, "correct"),
        ("Ono", ["Zelt"], True, "hallucinated"),
        ("", ["Zelt"], True, "hallucinated"),
        ("unknown", ["Zelt"], True, "abstained"),
        ("unknown", [], False, "abstained"),
        ("unknown", ["Unknown"], True, "abstained"),  # abstention comes first
        ("Zelt", ["Zelt"], False, "hallucinated"),  # nothing is right where nothing can be known
        ("Zelt", [], False, "hallucinated"),
        ("Zelt", [], None, "hallucinated"),
    ],
)
def test_a_response_has_its_class(response: str, accepted: list[str], answerable: bool | None, golden: str) -> None:
    assert verdict(response, accepted, answerable, PHRASES) == golden
