"""The terms of a text: what lexical search counts and what is highlighted.

A term is a word in lower case, stemmed, without accents: `Zürich's` and `zurich` are one. Numbers are kept whole
(`3.14`, `10,000` as 10000), dots leave acronyms (`U.S.` is `us`), and scripts that put no spaces between words give
every character and every pair of neighbours (as Lucene's CJKBigramFilter with outputUnigrams).
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

# Not the standard library's: its \w breaks words of Indic scripts at each vowel sign.
import regex
import Stemmer

from engine.errors import InvalidInput

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_IGNORED = "\u00ad\u200c\u200d"  # soft hyphen, zero-width (non-)joiner: within words, but no part of them
_WORDS = regex.compile(
    rf"""(?V1)
    (?P<acronym> (?<![\p{{L}}\p{{M}}\p{{N}}.]) \p{{L}} (?:\.\p{{L}})+ (?![\p{{L}}\p{{M}}\p{{N}}]) )
  | (?P<number> (?<![\p{{L}}\p{{M}}\p{{N}}.,])
        (?: \p{{Nd}}{{1,3}} (?:,\p{{Nd}}{{3}})+ (?:\.\p{{Nd}}+)? | \p{{Nd}}+ (?:\.\p{{Nd}}+)+ )
        (?! [\p{{L}}\p{{M}}\p{{N}}] | [.,]\p{{Nd}} ) )
  | (?P<unspaced> [{_UNSPACED}]+ )
  | (?P<word> [[\p{{L}}\p{{N}}]--[{_UNSPACED}]] [[\p{{L}}\p{{M}}\p{{N}}{_IGNORED}]--[{_UNSPACED}]]* )
        (?: ['’][sS] (?!\p{{L}}) )?
    """,
    regex.VERBOSE,
)
# No word reaches over white space, so what stands between is analysed once, unless it is longer than this.
_PIECES = regex.compile(r"\S+")
_REMEMBERED = 64
_ACCENTS = dict.fromkeys(range(0x0300, 0x0370))
_DROPPED = dict.fromkeys(map(ord, _IGNORED))

# Words that say how a question is put and not what it is about. Snowball's English list without pronouns' contractions
# (https://snowballstem.org/algorithms/english/stop.txt), split as texts are: `don't` is `don` and `t`.
_ENGLISH = """
    i me my myself we our ours ourselves you your yours yourself yourselves he him his himself she her hers herself it
    its itself they them their theirs themselves what which who whom whose this that these those am is are was were be
    been being have has had having do does did doing would should could ought a an the and but if or because as until
    while of at by for with about against between into through during before after above below to from up down in out
    on off over under again further then once here there when where why how all any both each few more most other some
    such no nor not only own same so than too very can will don didn doesn isn aren wasn weren hasn haven hadn won
    wouldn shouldn couldn t s d m ll re ve
"""
_STOP_WORDS = {"english": frozenset(_ENGLISH.split())}


class Span(NamedTuple):
    """Where a term stands, in characters from the beginning of the text."""

    start: int
    end: int
    term: str
    stops: bool  # it is a stop word


@dataclass(frozen=True, slots=True)
class Analysis:
    """How texts become terms; the same for the chunks of an index and its queries.

    Raises InvalidInput for a language that there is no stemmer for.
    """

    language: str = "english"  # of the Snowball stemmer; empty: words are not stemmed

    def __post_init__(self) -> None:
        known = Stemmer.algorithms()
        if self.language and self.language not in known:
            near = difflib.get_close_matches(self.language, known, n=1)
            raise InvalidInput(
                f"there is no stemmer for the language {self.language!r}.",
                hint=f"Did you mean {near[0]}?" if near else f"There are {', '.join(known)}.",
            )

    def terms(self, text: str) -> list[str]:
        """Return the terms of a text, in order, as often as they occur."""
        return [span.term for piece in text.split() for span in _spans(piece, self.language)]

    def query_terms(self, query: str) -> list[str]:
        """Return the terms of a query that are searched: without stop words, unless it has nothing else.

        Stop words leave queries and not the index, so that `The Who` and `to be or not to be` are still found. They are
        known for English only.
        """
        spans = [span for piece in query.split() for span in _spans(piece, self.language)]
        return [span.term for span in spans if not span.stops] or [span.term for span in spans]

    def spans(self, text: str) -> Iterator[Span]:
        """Yield the terms of a text with their places. Those of unspaced scripts overlap."""
        for piece in _PIECES.finditer(text):
            at = piece.start()
            for span in _spans(piece[0], self.language):
                yield span._replace(start=span.start + at, end=span.end + at)


def highlight(text: str, query: str, analysis: Analysis | None = None) -> list[tuple[int, int]]:
    """Return the character spans of a text that hold terms of a query, ascending and apart."""
    analysis = analysis or Analysis()
    wanted = frozenset(analysis.query_terms(query))
    spans: list[tuple[int, int]] = []
    for span in analysis.spans(text):
        if span.term not in wanted:
            continue
        if spans and span.start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], span.end))
        else:
            spans.append((span.start, span.end))
    return spans


def _spans(piece: str, language: str) -> tuple[Span, ...]:
    """Return the terms of what stands between white space."""
    return _remembered(piece, language) if len(piece) <= _REMEMBERED else tuple(_analysed(piece, language))


@lru_cache(maxsize=1 << 17)
def _remembered(piece: str, language: str) -> tuple[Span, ...]:
    return tuple(_analysed(piece, language))


def _analysed(piece: str, language: str) -> Iterator[Span]:
    for match in _WORDS.finditer(piece):
        kind = match.lastgroup
        start, end = match.span(kind)
        found = match[kind]
        if kind == "unspaced":
            for at in range(start, end):
                for stop in range(at + 1, min(at + 2, end) + 1):
                    yield Span(at, stop, unicodedata.normalize("NFKC", piece[at:stop]), False)
        elif kind == "acronym":
            yield Span(start, end, _folded(found.replace(".", ""), ""), False)
        elif kind == "number":
            yield Span(start, end, found.replace(",", ""), False)
        else:
            stops = found.lower() in _STOP_WORDS.get(language, ())
            yield Span(start, end, _folded(found, language), stops)


def _folded(word: str, language: str) -> str:
    plain = unicodedata.normalize("NFKC", word.translate(_DROPPED)).casefold()
    # English stemmers know the letters a to z; those of other languages read accents, which go when the stem is found.
    if language in ("", "english", "porter"):
        plain = _without_accents(plain)
    return _without_accents(Stemmer.Stemmer(language, 0).stemWord(plain)) if language else plain


def _without_accents(word: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", word).translate(_ACCENTS))
