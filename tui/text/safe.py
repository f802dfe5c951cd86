"""Text from outside, shown and never obeyed."""

from __future__ import annotations

import re
import unicodedata

# CSI (colours, cursor), OSC (titles, clipboard; ended by BEL or ST), DCS/SOS/PM/APC strings, two-byte escapes.
_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[PX^_][^\x1b]*\x1b\\|[ -/]*[0-OQ-WYZ\\`-~])"
)
_TAB = 4  # columns


def visible(text: str) -> str:
    """Return one line of printable text: escape sequences dropped, what else is hidden or steers shown as ‹code›.

    Control characters, bidirectional overrides, zero-width and unassigned characters, lone surrogates and
    line separators become e.g. ‹202E›; tabs and special spaces become spaces.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text).expandtabs(_TAB)
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _written_out(char) for char in text)


def _written_out(char: str) -> str:
    return " " if unicodedata.category(char) == "Zs" else f"‹{ord(char):02X}›"


def log_line(raw: bytes) -> str:
    """Return a line of a log as a terminal would have left it, safely.

    Of a progress bar redrawn with carriage returns the last state is kept; bytes that are not UTF-8 are
    shown as \\xNN.
    """
    states = raw.rstrip(b"\r\n").split(b"\r")
    last = next((state for state in reversed(states) if state.strip()), b"")
    return visible(last.decode("utf-8", "backslashreplace"))
