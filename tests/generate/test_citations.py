"""Citations are read as people write them, and what no passage has is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.generate.citations import Statement, cited, out_of_range, statements, without_citations


def test_each_way_of_citing_is_read() -> None:
    assert cited("a [1], b [2, 3][5] c [7-9] d[11–12; 2] e [ 4 ]") == (1, 2, 3, 4, 5, 7, 8, 9, 11, 12)
    assert cited("[3-1] [0]") == (0, 1, 2, 3)
    assert cited("in [1999], [a], [], [1.5], [-1], (2), [1,], array[i]") == ()


def test_statements_carry_their_citations_and_lose_the_marks() -> None:
    answer = "Ada lives in Oslo [1]. She bakes [2][3]. [7]\nShe sings.\n[4]\n[1] [2]"
    assert statements(answer) == [
        Statement("Ada lives in Oslo.", (1,)),
        Statement("She bakes.", (2, 3, 7)),
        Statement("She sings.", (1, 2, 4)),
    ]
    assert statements("") == statements(" [1] ") == statements("...") == []


def test_what_no_passage_has_is_named() -> None:
    assert out_of_range(cited("[0] [1] [3] [4-6]"), passages=4) == (0, 5, 6)
    assert out_of_range((1,), passages=0) == (1,)


@given(st.text(alphabet=st.sampled_from("a [1],-2"), max_size=40))
def test_what_is_left_cites_nothing(text: str) -> None:
    assert not cited(without_citations(text)) or cited(text)
    plain = "".join(mark for mark in text if mark not in "[]")
    assert without_citations(plain) == plain.strip() and cited(plain) == ()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", ["[1", "[1,", " ", "[1]", " [1-999]"])
def test_a_hostile_text_takes_no_longer_than_its_length(unit: str) -> None:
    text = unit * 50_000 + "x"
    assert without_citations(text).endswith("x")
    assert set(cited(text)) <= set(range(1000))
