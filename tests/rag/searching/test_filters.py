"""Filters: what is compared with what, and what is said of one that makes no sense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.rag.records import Document
from engine.rag.searching.filters import check_keys, matching_rows, parse_filter

PARIS = Document(
    "doc-1",
    "…",
    "pages.jsonl:3",
    "Paris, France",
    {"lang": "en", "year": 2010, "score": 0.5, "draft": False, "date": "2010-05-01", "count": "9", "source": "wiki"},
)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("lang=en", True),
        ("lang = en", True),
        ('lang="en"', True),
        ("lang=EN", False),
        ("lang!=de", True),
        ("lang~E", True),
        ("year=2010", True),
        ("year=2010.0", True),
        ("year>=2010", True),
        ("year>2010", False),
        ("year<2e3", False),
        ("year<=1e4", True),
        ("year=two", False),
        ("year!=two", True),
        ("year>two", False),
        ("year~01", True),
        ("score<.75", True),
        ("draft=false", True),
        ("draft=FALSE", True),
        ("draft=0", False),  # a truth value is no number
        ("draft!=0", True),
        ("draft<1", False),
        ("date>=2010-04-30", True),
        ("date<2010-04-30", False),
        ("count<10", True),  # texts that are numbers are ordered as numbers
        ("count=9.0", False),  # and compared as texts
        ("title~france", True),
        ('title=""', False),
        ("document=doc-1", True),
        ("source~pages.jsonl", True),
        ("source=wiki", False),  # the document's own
        ("metadata.source=wiki", True),
        ("metadata.year=2010", True),
        ("missing=1", False),
        ("missing!=1", False),
        ("missing~", False),
        ("year=1" + "0" * 5000, False),
    ],
)
def test_a_filter_holds_or_not(text: str, holds: bool) -> None:
    if text.endswith("~"):
        text += '""'
    assert parse_filter(text).matches(PARIS) == holds


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lang", "no operator at character 5"),
        ("", "no operator at character 1"),
        ("lang!en", "no operator at character 5"),
        (" =en", "no key before the operator at character 2"),
        ("lang=", "no value at character 6"),
        ("lang == en", "no operator == at character 7"),
        ("year=>2", "no operator => at character 6"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_place(text: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        parse_filter(text)


def test_an_unknown_key_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidInput, match=r"'lnag' at character 1.*Did you mean lang\?"):
        check_keys([parse_filter("year=1"), parse_filter("lnag=en")], ["lang", "year"])
    with pytest.raises(InvalidInput, match=r"'titel'.*Did you mean title\?"):
        check_keys([parse_filter("titel=x")], [])
    check_keys([parse_filter("metadata.lang=x"), parse_filter("title=x")], ["lang"])


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        condition = parse_filter(text)
    except InvalidInput:
        return
    assert condition.matches(PARIS) in (True, False)


@given(st.integers(-(2**70), 2**70), st.integers(-(2**70), 2**70))
def test_whole_numbers_are_compared_exactly(held: int, wanted: int) -> None:
    document = Document("d", "", "s", metadata={"n": held})
    assert parse_filter(f"n>={wanted}").matches(document) == (held >= wanted)
    assert parse_filter(f"n={wanted}").matches(document) == (held == wanted)


def test_rows_are_those_of_documents_that_meet_all_filters() -> None:
    documents = [
        Document(str(year), "", "s", metadata={"year": year, "lang": lang}) for year, lang in enumerate("abab")
    ]
    filters = [parse_filter("lang=b"), parse_filter("year>1")]
    rows = matching_rows(filters, documents, np.array([3, 0, 1, 3, 2], np.int32))
    assert rows.tolist() == [True, False, False, True, False]
