"""The grammar of filters: every text is a tree or a sentence with a place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store.filtering.language import AllOf, Condition, Has, InvalidFilter, Not, OneOf, Word, conditions, parse


def test_side_by_side_binds_more_than_or_and_brackets_most() -> None:
    a, b, c = Word("a"), Word("b"), Word("c")
    assert parse("") == parse("  ") == AllOf(())
    assert parse("a b or c") == parse("(a and b) | c") == OneOf((AllOf((a, b)), c))
    assert parse("a (b OR c)") == AllOf((a, OneOf((b, c))))
    assert parse("a b|c") == AllOf((a, OneOf((b, c))))
    assert parse("-(a b) --c") == AllOf((Not(AllOf((a, b))), Not(Not(c))))


def test_quotes_and_brackets_in_a_word_are_kept() -> None:
    assert parse('"a or b" f(x) it\'s "(" x"y z"') == AllOf(
        (Word("a or b"), Word("f(x)"), Word("it's"), Word("("), Word("xy z"))
    )
    assert parse("name:\"kl 6\"|'a|b'") == OneOf(
        (Condition("name", ":", "kl 6", 0, 11), Condition("name", ":", "a|b", 12, 17))
    )


def test_values_have_the_type_of_their_key_and_alternatives_take_the_key_over() -> None:
    assert [(test.key, test.value) for test in conditions(parse("age<1d12h took>90 done>=50% archived:yes"))] == [
        ("age", 129_600.0),
        ("took", 90.0),
        ("done", 0.5),
        ("archived", True),
    ]
    found = list(conditions(parse("state:failed|lost|tag:x|y -cfg.train.lr=1e-6 spec.kl last.kl/max>2")))
    assert [(one.key, getattr(one, "value", None)) for one in found] == [
        ("state", "failed"),
        ("state", "lost"),
        ("tag", "x"),
        ("tag", "y"),
        ("spec.train.lr", "1e-6"),
        ("spec.kl", None),
        ("last.kl/max", 2.0),
    ]
    assert isinstance(found[5], Has)


@pytest.mark.parametrize(
    ("text", "meant", "sentence"),
    [
        ("stat:failed", "stat", "there is no key stat. Did you mean state?"),
        ("kind:pp0", "pp0", "there is no kind pp0. Did you mean ppo?"),
        ("ok state:gone", "gone", "there is no state gone."),
        ("step>many", "many", "many is no number."),
        ("age<soon", "soon", "soon is no time."),
        ("pinned:maybe", "maybe", "pinned is yes or no, not maybe."),
        ("tag>x", ">", "tag has no order"),
        ("step~1", "~", "step is no text"),
        ("last.kl~1", "~", "last.kl is a number"),
        ("last.kl>x", "x", "x is no number."),
        ("a kind: b", "kind:", "kind: needs a value."),
        ("a -", "-", "- turns the term behind it round"),
        ("a (b c", "(", "this ( is not closed."),
        ("a b)", ")", "this ) has no ( before it."),
        ('a "b c', '"b c', "this quote is not closed."),
        ("a or", "", "a term is missing here."),
        ("(or b)", "o", "a term is missing here."),
        ("a |", "", "a term is missing here."),
    ],
)
def test_what_is_wrong_is_one_sentence_with_its_place(text: str, meant: str, sentence: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(text)
    error = caught.value
    assert str(error).startswith(f"filter, character {error.start + 1}: {sentence}")
    assert text[error.start : error.end] == meant


@given(st.text(alphabet="ab:=<>~|()-\"' .1%ko", max_size=24) | st.text(max_size=12))
def test_any_text_is_a_tree_or_a_sentence(text: str) -> None:
    try:
        parse(text)
    except InvalidFilter as error:
        assert 0 <= error.start <= len(text)
