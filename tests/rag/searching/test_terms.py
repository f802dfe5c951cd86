"""What counts as a term, and where it stands."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rag.searching.terms import Analysis, highlight


@pytest.mark.parametrize(
    ("text", "golden"),
    [
        ("Running dogs ran", "run dog ran"),  # Snowball's English stemmer
        ("Zürich's Zu\u0308rich ZURICH zurich’s", "zurich zurich zurich zurich"),
        ("O'Brien isn't l’église", "o brien isn t l eglis"),
        ("U.S. u.s.a., J.R.R. Tolkien. A.", "us usa jrr tolkien a"),
        ("3.14 10,000 1,234,567.5 2.13.0 1,2,3 10th", "3.14 10000 1234567.5 2.13.0 1 2 3 10th"),
        ("max_tokens COVID-19 a/b", "max token covid 19 a b"),
        ("ﬁve Ｋｍ Straße", "five km strass"),
        ("exam\u00adple", "exampl"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),  # vowel signs are within words
        ("水 東京に2020年", "水 東 東京 京 京に に 2020 年"),
        ("한국어", "한 한국 국 국어 어"),
        ("?! … — \ud800 \x00", ""),
    ],
)
def test_a_text_has_its_golden_terms(text: str, golden: str) -> None:
    assert Analysis().terms(text) == golden.split()


def test_without_a_language_words_are_not_stemmed_but_still_folded() -> None:
    assert Analysis("").terms("Running Cafés") == ["running", "cafes"]
    assert Analysis("french").terms("continuellement") == ["continuel"]


def test_stop_words_leave_a_query_unless_it_has_nothing_else() -> None:
    assert Analysis().query_terms("What did The Beatles sing?") == ["beatl", "sing"]
    assert Analysis().query_terms("The Who") == ["the", "who"]
    assert Analysis("german").query_terms("Was ist das Haus") == ["was", "ist", "das", "haus"]


def test_an_unknown_language_is_refused_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"'englsh'.*english"):
        Analysis("englsh")


@given(st.text(st.characters() | st.sampled_from("a.,'’s1 水に\u0301"), max_size=80))
def test_terms_stand_where_their_spans_say(text: str) -> None:
    analysis = Analysis()
    spans = list(analysis.spans(text))
    assert [span.term for span in spans] == analysis.terms(text)
    for span in spans:
        assert 0 <= span.start < span.end <= len(text)
        assert span.term in analysis.terms(text[span.start : span.end])


@given(st.lists(st.sampled_from(["dogs", "東京", "x", "U.S.", "10,000", "é"]), max_size=12), st.text(max_size=20))
def test_highlights_are_apart_ascending_and_hold_terms_of_the_query(words: list[str], query: str) -> None:
    text, query = " ".join(words), query + " dog 東京 us"
    spans = highlight(text, query)
    flat = [place for span in spans for place in span]
    assert flat == sorted(set(flat))
    wanted = set(Analysis().query_terms(query))
    assert all(wanted & set(Analysis().terms(text[start:end])) for start, end in spans)
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(set(range(span.start, span.end)) <= covered for span in Analysis().spans(text) if span.term in wanted)


def test_highlights_join_only_what_touches() -> None:
    assert highlight("Dogs bark; a dog's bark.", "dogs") == [(0, 4), (13, 16)]
    assert highlight("東京都", "東京") == [(0, 2)]
    assert highlight("nothing", "?") == []
