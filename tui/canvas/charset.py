"""The glyphs that a chart is drawn with: Unicode, or plain ASCII where the terminal has no more."""

from __future__ import annotations

import locale
import os
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Bit of each dot of a braille cell, by dot row (4) and dot column (2): Unicode block U+2800.
DOT_BITS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]], dtype=np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Charset:
    """One glyph for each part of a chart. `line` and `band` map the 256 dot patterns of a cell to glyphs."""

    line: NDArray[np.str_]
    band: NDArray[np.str_]
    markers: tuple[str, ...]  # of the series, by colour; the first one goes without where it is dense
    y_axis: str
    y_tick: str
    corner: str
    x_axis: str
    x_tick: str
    rule: str
    crosshair: str
    level: str  # of a line that a series is held against
    gap: str  # a value that is not a finite number
    restart: str
    rollback: str  # to the networks of an earlier step; the steps go on
    checkpoint: str
    spark: str  # from lowest to highest
    bar: str  # of a progress bar: filled, empty
    separator: str


def _ascii_line() -> NDArray[np.str_]:
    """Return for every dot pattern the ASCII character nearest to its shape."""
    glyphs = []
    for pattern in range(256):
        rows = [row for row in range(4) if any(pattern & int(bit) for bit in DOT_BITS[row])]
        if not rows:
            glyphs.append(" ")
        elif rows[-1] - rows[0] >= 2:
            glyphs.append("|")
        else:
            glyphs.append("'-_."[0 if rows[-1] == 0 else 1 if rows[-1] <= 2 else 2])
    return np.array(glyphs)


UNICODE = Charset(
    line=np.array([" "] + [chr(0x2800 + pattern) for pattern in range(1, 256)]),
    band=np.array([" "] + [chr(0x2800 + pattern) for pattern in range(1, 256)]),
    markers=("●", "◆", "▲", "■", "○", "◇", "△", "□"),
    y_axis="│",
    y_tick="┤",
    corner="└",
    x_axis="─",
    x_tick="┬",
    rule="─",
    crosshair="│",
    level="┄",
    gap="✕",
    restart="↻",
    rollback="↶",
    checkpoint="⚑",
    spark="▁▂▃▄▅▆▇█",
    bar="━─",
    separator="·",
)

ASCII = Charset(
    line=_ascii_line(),
    band=np.array([" "] + [":"] * 255),
    markers=("*", "o", "^", "#", "@", "+", "%", "="),
    y_axis="|",
    y_tick="+",
    corner="+",
    x_axis="-",
    x_tick="+",
    rule="-",
    crosshair="|",
    level="~",
    gap="x",
    restart="R",
    rollback="B",
    checkpoint="c",
    spark="_.-:=+*#",
    bar="#-",
    separator="-",
)


@cache
def _locale_is_utf8() -> bool:
    # Not what Python reads and writes files in: that is UTF-8 under LC_ALL=C, too.
    return locale.getencoding().upper().replace("-", "") == "UTF8"


def current() -> Charset:
    """Return `ASCII` when PLUMBLINE_ASCII=1 or the locale is not UTF-8, else `UNICODE`."""
    if os.environ.get("PLUMBLINE_ASCII", "") not in ("", "0") or not _locale_is_utf8():
        return ASCII
    return UNICODE
