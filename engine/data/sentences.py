"""Where the sentences of a text begin and end, by rules: no model, no word list beyond common abbreviations."""

from __future__ import annotations

import re

# After these, in lower case, a full stop ends no sentence; after the latter, none before a number.
_ABBREVIATIONS = re.compile(
    r"mrs?|ms|messrs|dr|prof|rev|hon|gen|col|lt|sgt|capt|gov|sen|rep|pres|st|sr|jr|mt|ft|eds?|approx|ca|cf|vs|viz|al"
    r"|e\.g|i\.e|a\.k\.a|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
_BEFORE_NUMBERS = re.compile(r"nos?|vols?|figs?|eqs?|sec|ch|pp?")
# What ends a sentence, with the quotes, brackets and citations that close it; full-width marks need no space after.
# Nothing is tried twice: marks match from the first of their run on, and give nothing back.
_CLOSING = r"[\"'”’»)\]]*+(?:\s*+\[[0-9][0-9\s,;–-]*+\])*+"
_END = re.compile(rf"(?:(?<![.!?…])[.!?…]++{_CLOSING}(?=\s)|[。！？]++[」』”’）]*+|\n\s*+)")
_LAST_WORD = re.compile(r"[\w.&]+$")
_INITIAL = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]")
_LIST_NUMBER = re.compile(r"\s*(?:[0-9]{1,3}|[A-Za-z])")
# Longest stretch before a full stop that is looked at: words are shorter.
_WORD_LENGTH = 40


def sentences(text: str) -> list[tuple[int, int]]:
    """Return the spans [start, end) of the sentences, without the white space around them, in order.

    A line ends a sentence. Citations such as `[1]` after a full stop belong to the sentence before them. Time is
    linear in the length of the text.
    """
    spans = []
    start = 0
    for match in _END.finditer(text):
        if "\n" not in match[0] and not _ends(text, start, match):
            continue
        spans.append((start, match.end()))
        start = match.end()
    spans.append((start, len(text)))
    return [span for span in (_trimmed(text, *span) for span in spans) if span[0] < span[1]]


def _ends(text: str, start: int, match: re.Match[str]) -> bool:
    """Whether the mark ends the sentence that began at `start`."""
    if match[0].rstrip() != ".":  # other marks, several, or something that closes
        return True
    before = text[max(start, match.start() - _WORD_LENGTH) : match.start()]
    if match.start() - start <= _WORD_LENGTH and _LIST_NUMBER.fullmatch(before):
        return False  # "1. First"
    following = text[match.end() : match.end() + _WORD_LENGTH].lstrip()
    if following[:1].islower():
        return False
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    lowered = word[0].lower()
    if _ABBREVIATIONS.fullmatch(lowered) or (following[:1].isdecimal() and _BEFORE_NUMBERS.fullmatch(lowered)):
        return False
    return not (_INITIAL.fullmatch(word[0]) and word[0][-1].isupper() and word[0] != "I")


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
