"""Sentences are found where a reader finds them, nothing is lost, and no text takes long."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.sentences import sentences


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. J. K. Rowling paid 3.14 euros.", "She left the U.S. in 1990.", "Then, e.g. in May, she won!"],
        ["It is on p. 12 of no. 7.", "The answer is no.", "Really?", "Yes…", "It was I.", "Then we left."],
        ["Paris is a city. [1]", "Rome [2] is one too [3].", "“Is it?”", "(It is.)", "Apple Inc. in 1976 did."],
        ["东京是首都。", "大阪也是！"],
    ],
)
def test_sentences_end_where_they_end(expected: list[str]) -> None:
    glue = "" if expected[0].startswith("东") else " "
    assert found(glue.join(expected)) == expected


def test_lines_end_sentences_and_numbers_of_lists_do_not() -> None:
    assert found("Two things:\n1. First\n 2. Second one. \n\n\nEnd") == [
        "Two things:",
        "1. First",
        "2. Second one.",
        "End",
    ]


@given(st.text(alphabet=st.sampled_from("ab A.!?。\n\t[]12,\"'…"), max_size=60))
def test_all_but_white_space_is_in_one_sentence(text: str) -> None:
    spans = sentences(text)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    kept = "".join(text[start:end] for start, end in spans)
    assert "".join(kept.split()) == "".join(text.split())
    assert all(text[start:end].strip() == text[start:end] != "" for start, end in spans)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("unit", [".", "a. ", " ", "\n", ". [1,", '."', ". [1]"])
def test_a_hostile_text_takes_no_longer_than_its_length(unit: str) -> None:
    """Quadratic time would be minutes."""
    assert len(sentences(unit * 50_000 + "x")) <= 50_001
