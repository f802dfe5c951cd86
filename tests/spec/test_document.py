"""Hostile YAML ends in one sentence, soon, and without great memory."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidInput
from engine.spec.document import Document
from engine.spec.loading import parse_spec

INVALID = "is not valid YAML:"


def refusal(text: str) -> InvalidInput:
    """Return why a text is no document."""
    with pytest.raises(InvalidInput) as caught:
        Document.read(text, "x")
    return caught.value


@pytest.mark.parametrize("open_", ["[", "{", "- ", "? ", "a: {", "!!seq [", "&a [", '{"a":'])
def test_deep_nesting_is_refused(open_: str) -> None:
    assert refusal(open_ * (200_000 // len(open_))).message in (
        "is nested deeper than 16 levels.",
        "is not valid YAML: found duplicate anchor 'a', second occurrence.",
    )


def test_aliases_that_multiply_are_refused() -> None:
    levels = ["a: &a [x, x, x, x, x, x, x, x]"]
    for before, name in itertools.pairwise("abcdefgh"):
        levels.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 8)}]")
    assert refusal("\n".join(levels)).message == "holds too many values; no spec has as many."
    assert refusal("a: &a [*a]").message == "holds too many values; no spec has as many."
    assert Document.read("a: &a [1]\nb: *a\n", "x").values == {"a": [1], "b": [1]}


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("a: 1\nb: 2\na: 3", "a is given twice.", "x:3"),
        ("s:\n  a: 1\n  a: 1", "s.a is given twice.", "x:3"),
        (
            "a: 1\n\tb: 2",
            f"{INVALID} while scanning for the next token, found character TAB that cannot start any token.",
            "x:2",
        ),
        ("a: b: c", f"{INVALID} mapping values are not allowed here.", "x:1"),
        ("a: 1\n--- \nb: 1", f"{INVALID} expected a single document in the stream, but found another document.", "x:2"),
        ("a: 1\nb: \x07", "holds the character U+0007, which YAML does not allow.", "x:2"),
        ("a: !!python/name:os.system ls", "the tag !!python/name:os.system has no place in a spec.", "x:1"),
        ("a: !run ls", "the tag !run has no place in a spec.", "x:1"),
        ("a: !!binary aGk=", "the tag !!binary has no place in a spec.", "x:1"),
        ("a: !!int b", '"b" cannot be read as int.', "x:1"),
        ("a: " + "1" * 5000, f'"{"1" * 39}…" cannot be read as int.', "x:1"),
        ("? [a]\n: 1", "a key must be a word.", "x:1"),
        ("a: *b", f"{INVALID} found undefined alias 'b'.", "x:1"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, message: str, where: str) -> None:
    told = refusal(text)
    assert (told.message, told.where) == (message, where)


def test_what_is_shown_of_a_hostile_text_cannot_steer_a_terminal() -> None:
    told = refusal('"\\x1b[2J": 1\n"\\x1b[2J": 2')
    assert "\x1b" not in str(told) and "\\x1b" in str(told)
    with pytest.raises(InvalidInput) as caught:
        parse_spec('kind: "\\e]0;x\\a"')
    assert str(caught.value).isprintable()


INDICATORS = [*"-?:,[]{}#&*!|>'\"%@`~<= \n\ta1.\r\0\u2028\ud800"]
WORDS = [
    "kind: sft\n",
    "---\n",
    "...\n",
    "!!int ",
    "!!bool ",
    "!!float ",
    "!!null ",
    "%YAML 1.1\n",
    "%TAG ! a\n",
    "\n  ",
]


@given(st.lists(st.sampled_from(INDICATORS + WORDS), max_size=40).map("".join) | st.text(max_size=60))
@settings(max_examples=400)
def test_any_text_is_a_spec_or_gets_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(text)
    assert caught.value.message.endswith((".", "?")) and caught.value.where
    with pytest.raises(InvalidInput) as caught:
        parse_spec("kind: sft", overrides=[text])
    assert caught.value.message.endswith((".", "?")) and caught.value.where
