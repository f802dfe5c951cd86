"""Citations in an answer: `[1]`, `[1, 2]`, `[1][3]`, `[1-3]`, by the numbers that the passages have in the prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from engine.data.sentences import sentences

# At most three digits: [1999] is a year, and no prompt has a thousand passages.
_NUMBER = r"[0-9]{1,3}"
_RANGE = rf"{_NUMBER}(?:\s?[-–]\s?{_NUMBER})?"
_MARKER = re.compile(rf"\[\s?({_RANGE}(?:\s?[,;]\s?{_RANGE})*)\s?\]")
_SPACED_MARKER = re.compile(rf"(?<!\s)\s*+{_MARKER.pattern}")
_PARTS = re.compile(rf"({_NUMBER})(?:\s?[-–]\s?({_NUMBER}))?")


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence of an answer, and the passages that it cites."""

    text: str  # without citations
    cited: tuple[int, ...]  # numbers from 1, each once, ascending; there may be no such passage


def cited(text: str) -> tuple[int, ...]:
    """Return the numbers that a text cites, each once, ascending. A range counts both ends and all between."""
    longest: dict[int, int] = {}  # from where on, until where
    for marker in _MARKER.finditer(text):
        for part in _PARTS.finditer(marker[1]):
            ends = int(part[1]), int(part[2] or part[1])
            longest[min(ends)] = max(longest.get(min(ends), 0), *ends)
    return tuple(sorted({number for first, last in longest.items() for number in range(first, last + 1)}))


def without_citations(text: str) -> str:
    """Return a text without its citations and the white space before them."""
    return _SPACED_MARKER.sub("", text).strip()


def statements(answer: str) -> list[Statement]:
    """Return the sentences of an answer in order, each with what it cites; a line of citations alone says nothing."""
    found = []
    for start, end in sentences(answer):
        text = without_citations(answer[start:end])
        numbers = cited(answer[start:end])
        if any(character.isalnum() for character in text):
            found.append(Statement(text, numbers))
        elif found and numbers:  # citations on a line of their own belong to what stands before them
            found[-1] = Statement(found[-1].text, tuple(sorted({*found[-1].cited, *numbers})))
    return found


def out_of_range(numbers: Iterable[int], passages: int) -> tuple[int, ...]:
    """Return the cited numbers that no passage has; passages are numbered from 1."""
    return tuple(number for number in numbers if not 1 <= number <= passages)
