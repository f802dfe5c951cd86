"""Cleaned text is clean, and to clean takes time in proportion to the text."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rag.reading.cleaning import _PERHAPS_MARKS, clean, escaped, one_line, stands_on_a_line

# What cleaning is about, far more often than in texts that are drawn from all characters.
ODD = st.text(
    st.sampled_from(" \t\n\r\v\f\0\x1b\x85\xad\u2028\ufeff\ud800\uffffae\u0301\u0344\u0315가\u1100\u1161\U000e0041")
)
TEXTS = st.lists(ODD | st.text(st.characters(codec=None)), max_size=4).map("".join)


@given(TEXTS)
def test_what_is_clean_has_one_form_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)
    assert clean(cleaned) == cleaned
    assert unicodedata.is_normalized("NFC", cleaned)
    cleaned.encode()
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in cleaned if character not in "\t\n")
    assert "\n\n\n" not in cleaned
    assert cleaned == cleaned.strip("\n")
    assert all(line == line.rstrip() for line in cleaned.split("\n"))
    assert one_line(text) == " ".join(cleaned.split())


@given(TEXTS.filter(lambda text: sum(map(bool, map(unicodedata.combining, unicodedata.normalize("NFD", text)))) <= 30))
def test_only_space_and_unseen_characters_go(text: str) -> None:
    def seen(of: str) -> list[str]:
        letters = "".join(
            character
            for character in of
            if not character.isspace()
            and unicodedata.category(character) not in ("Cc", "Cs")
            and character not in "\xad\ufeff\ufffe\uffff"
            and not "\U000e0000" <= character <= "\U000e007f"
        )
        return sorted("".join(unicodedata.normalize("NFD", letter) for letter in letters))

    assert seen(clean(text)) == seen(text)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\ufeffa\r\nb\rc\u2028d\x85e\ff", "a\nb\nc\nd\ne\nf"),
        ("a \t \n\n \n\n\nb\u3000\n", "a\n\nb"),
        ("\n\n\tdef f():\n\t\treturn 1\n", "\tdef f():\n\t\treturn 1"),
        ("nai\u0308ve co\xadoperation\0\x1b[31m", "naïve cooperation[31m"),
        ("lone \ud83d, paired \U0001f600", "lone , paired \U0001f600"),
        ("seen\U000e0069\U000e006e\U000e0076 unseen", "seen unseen"),
        (" \0\ufeff\n\t", ""),
    ],
)
def test_golden(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@pytest.mark.parametrize(
    ("text", "characters"),
    [
        ("a" + "\u0315\u0300" * 500_000, 30),  # by insertion sort, as unicodedata does it: an hour
        ("\u0344" * 500_000, 30),
        (" " * 2_000_000 + "x", 2_000_001),
        (" \n" * 1_000_000 + "x", 1),
    ],
)
def test_no_text_takes_quadratic_time(text: str, characters: int) -> None:
    assert len(clean(text)) == characters


def test_marks_are_looked_for_wherever_there_are_any() -> None:
    marks = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code))]
    assert len(marks) > 800
    assert [mark for mark in marks if not _PERHAPS_MARKS.fullmatch(mark * 31)] == []
    assert all(len(clean("x" + mark * 100)) <= 31 for mark in marks)


@given(st.text(st.characters(codec=None)))
def test_escaped_names_stand_on_a_line(name: str) -> None:
    assert stands_on_a_line(escaped(name))
    if stands_on_a_line(name):
        assert escaped(name) == name
        assert len(f"{name}x".splitlines()) == 1
        name.encode()
