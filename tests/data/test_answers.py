"""Golden values, worked out by hand from SQuAD's evaluation script and from CRAG's classes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.answers import abstains, abstains_only, contains_answer, is_exact, normalise, token_f1, verdict
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


@pytest.mark.parametrize(
    ("response", "leaves_it"),
    [
        ("unknown", True),
        ("I don’t know. The passages do not say.", True),
        ("I'm not sure—nobody told me.", True),
        ("I do not know yet.", True),
        ("I don't know, sorry.", True),
        ("I don't know who that is, though.", True),
        ("I don't know. I do not know!", True),
        ("I'm not sure, but it may be Zelt.", False),
        ("I don't know. Zelt.", False),
        ("I don't know…Zelt", True),  # no space, one word: nothing tells a turn
        ("unknown, Zelt", False),
        ("unknown — Zelt", False),
        ("unknown\nZelt", False),
        ("I do not know, but the text is silent; Zelt, perhaps", False),
        ("Zelt", False),
        ("", False),
    ],
)
def test_who_abstains_and_goes_on_to_answer_does_not_only_abstain(response: str, leaves_it: bool) -> None:
    assert abstains_only(response, PHRASES) == leaves_it


@given(st.text())
def test_only_who_abstains_abstains_only(text: str) -> None:
    assert not abstains_only(text, PHRASES) or abstains(text, PHRASES)


def test_a_hedged_answer_is_judged_by_what_it_says_where_that_is_asked_for() -> None:
    hedged = "I'm not sure, but it may be Zelt."
    assert verdict(hedged, ["Ono"], True, PHRASES) == "abstained"
    assert verdict(hedged, ["Ono"], True, PHRASES, strictly=True) == "hallucinated"
    assert verdict(hedged, ["Zelt"], True, PHRASES, strictly=True, f1_from=0.2) == "correct"  # F1 2/9
    assert verdict(hedged, ["Zelt"], True, PHRASES, strictly=True, f1_from=0.3) == "hallucinated"
    assert verdict("the 10th", ["10th day"], True, PHRASES, f1_from=2 / 3) == "correct"


@pytest.mark.parametrize(
    ("text", "answer", "held"),
    [
        ("She moved to Ono in 1850.", "Ono", True),
        ("She moved to ONO.", "the ono", True),
        ("She moved to Onore.", "Ono", False),  # words are whole
        ("The 10th- and 11th-century war", "10th and 11th century", True),
        ("10th or 11th century", "10th and 11th", False),
        ("It took 1,000 days, 1.5 of them dry.", "1000", True),
        ("It took 1,000 days, 1.5 of them dry.", "1.5", True),
        ("It took 1,000 days, 1.5 of them dry.", "1", False),
        ("It took 1,000km", "1000km", True),
        ("in 1990,1991", "1991", True),
        ("Zu\u0308rich", "zürich", True),
        ("A plan", "the", False),
        ("the plan", "?", False),
        ("", "Ono", False),
    ],
)
def test_a_text_holds_an_answer_word_for_word(text: str, answer: str, held: bool) -> None:
    assert contains_answer(text, ["Nowhere", answer]) == held


WORDS = st.lists(st.sampled_from(["ono", "vale", "rime", "zelt", "10", "10th"]), min_size=1, max_size=6)


@given(WORDS, WORDS)
def test_an_answer_is_held_where_its_words_stand_in_a_row(text: list[str], answer: list[str]) -> None:
    in_a_row = any(text[start : start + len(answer)] == answer for start in range(len(text)))
    assert contains_answer(" ".join(text), [" ".join(answer)]) == in_a_row
