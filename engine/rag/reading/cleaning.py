"""Text as it is indexed: one form of every character, no characters that nobody sees, no needless space."""

from __future__ import annotations

import functools
import re
import sys
import unicodedata

# Most combining marks in a row, as in Unicode's Stream-Safe Text Format (UAX #15): normalising sorts them by insertion,
# which would take hours on a text of marks.
_MARKS = 30

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
# Controls but tab and line feed, soft hyphens, byte order marks, lone surrogates, noncharacters.
_UNSEEN = re.compile("[\0-\b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\ufeff\ud800-\udfff\ufffe\uffff]")
_EITHER = re.compile("[\0-\b\v-\x1f\x7f-\x9f\xad\u2028\u2029\ufeff\ud800-\udfff\ufffe\uffff]")
_TAGS = re.compile("[\U000e0000-\U000e007f]")  # invisible letters
_FROM_FIRST_MARK = re.compile("[\u0300-\U0010ffff]")
# Long runs in the blocks where all combining marks are: few texts have one, and to search for marks is slow.
_PERHAPS_MARKS = re.compile(
    f"[\u0300-\u1dff\u20d0-\u20f0\u2cef-\u309a\ua66f-\uabed\ufb1e\ufe20-\ufe2f\U000101fd-\U0001e94a]{{{_MARKS + 1},}}"
)
_BLANK_LINES = re.compile("\n{3,}")
_NOT_ON_A_LINE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def clean(text: str) -> str:
    """Return the text with normal characters, without trailing spaces and runs of blank lines.

    Cleaning what is clean changes nothing.
    """
    # line by line: a pattern of spaces before a line end takes quadratic time on a long run of spaces
    lines = "\n".join(line.rstrip() for line in normal(text).split("\n"))
    if "\n\n\n" in lines:
        lines = _BLANK_LINES.sub("\n\n", lines)
    return lines.strip("\n")


def normal(text: str) -> str:
    """Return the text in Unicode NFC, its lines ended by line feeds, without unseen characters but tabs.

    Of more than 30 combining marks in a row the first 30 stay.
    """
    if _EITHER.search(text) is not None:
        text = _UNSEEN.sub("", _LINE_ENDS.sub("\n", text))
    if text.isascii() or _FROM_FIRST_MARK.search(text) is None:  # NFC already
        return text
    text = _TAGS.sub("", text)
    text = unicodedata.normalize("NFC", _cut_marks(text))
    return _cut_marks(text)  # some marks are several when they are normal


def _cut_marks(text: str) -> str:
    return _PERHAPS_MARKS.sub(lambda part: _mark_runs().sub(lambda run: run[0][:_MARKS], part[0]), text)


def one_line(text: str) -> str:
    """Return the text cleaned, with single spaces for all white space."""
    return " ".join(clean(text).split())


def stands_on_a_line(text: str) -> bool:
    """Tell whether a name or id can be printed on a line and written as UTF-8."""
    return _NOT_ON_A_LINE.search(text) is None


def escaped(text: str) -> str:
    """Return the text with control characters, line ends and lone surrogates as escapes."""
    return _NOT_ON_A_LINE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


@functools.cache
def _mark_runs() -> re.Pattern[str]:
    """The pattern of runs of combining marks that are too long."""
    marks = "".join(re.escape(chr(code)) for code in range(sys.maxunicode + 1) if unicodedata.combining(chr(code)))
    return re.compile(f"[{marks}][{marks}]{{{_MARKS},}}")
