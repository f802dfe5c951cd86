"""What goes to the terminal, without what stands there already.

Textual writes whole pieces of lines, each with its colours set anew and taken back: fifty bytes for a digit that
changed. Here each piece is held against what the terminal shows, and only cells that differ are written, with as few
changes of colour as that takes: a live screen costs a tenth over a slow SSH line.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rich.cells import cell_len, get_character_cell_size

SYNC_START, SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
# All that a screen is drawn with; of anything else it is not known what it does to the cells.
_PIECE = re.compile(
    r"\x1b\[(?P<style>[0-9;]+)m(?P<styled>[^\x00-\x1f\x7f]*)\x1b\[0m"
    r"|\x1b\[(?P<row>[0-9]+);(?P<column>[0-9]+)H"
    r"|(?P<plain>[^\x00-\x1f\x7f]+)"
    r"|(?P<line>\r?\n)"
)
_JOIN_WITHIN = 4  # cells that stay between two that changed are written again: a move costs as much
_SHOWS_ON_BLANKS = frozenset({"4", "7", "9", "21", "53"})  # underlined, reversed, struck: seen without a glyph
Look = tuple[frozenset[str], str, str]  # attributes, colour, background, as the terminal is told them


class ChangedCells:
    """The cells that a terminal shows, as far as they are known, and how it is told to show others."""

    def __init__(self) -> None:
        self._rows: dict[int, tuple[list[str | None], list[str | None]]] = {}  # glyphs and styles of its cells
        self._cursor: tuple[int, int] | None = None  # row and column, from 1; null: anywhere
        self._pen: str | None = ""  # style in which it writes now; null: not known
        self._held = self._begun = False  # a synchronized update, asked for, and told to the terminal

    def forget(self) -> None:
        """Take nothing for granted: the terminal was resized, or something else wrote to it."""
        self._rows.clear()
        self._cursor, self._pen = None, None

    def reduce(self, data: str) -> str:
        """Return what to write in the place of `data`; often nothing."""
        if data == SYNC_START:
            self._held = True
            return ""
        if data == SYNC_END:
            begun, self._held, self._begun = self._begun, False, False
            return SYNC_END if begun else ""
        written = self._frame(data)
        if written is None:
            self.forget()
            written = "\x1b[0m" + data
        if written and self._held and not self._begun:
            self._begun = True
            return SYNC_START + written
        return written

    def _frame(self, data: str) -> str | None:
        """Return what is left of a frame; null when something in it is not known."""
        out: list[str] = []
        row, column = self._cursor or (0, 0)
        end = 0
        for piece in _PIECE.finditer(data):
            if piece.start() != end:
                return None
            end = piece.end()
            kind = piece.lastgroup
            if kind == "column":
                row, column = int(piece["row"]), int(piece["column"])
            elif kind == "line":
                row, column = row + 1, 1
            else:
                text = piece["styled"] if kind == "styled" else piece["plain"]
                if not row:
                    return None
                put = self._put if _narrow(text) else self._put_wide
                column += put(out, row, column, text, piece["style"] or "")
        if end != len(data):
            return None
        if self._cursor != (row, column):
            out.append(f"\x1b[{row};{column}H")
            self._cursor = row, column
        return "".join(out)

    def _put_wide(self, out: list[str], row: int, column: int, text: str, style: str) -> int:
        """Write a piece with glyphs of two cells, or none, whole: where they end is the terminal's business."""
        width = cell_len(text)
        glyphs, styles = self._row(row, column - 1 + width)
        self._write(out, row, column, text, style)
        glyphs[column - 1 : column - 1 + width] = styles[column - 1 : column - 1 + width] = [None] * width
        self._cursor = None
        return width

    def _row(self, row: int, width: int) -> tuple[list[str | None], list[str | None]]:
        """Return what is known of a row, of at least so many cells."""
        glyphs, styles = self._rows.setdefault(row, ([], []))
        if len(glyphs) < width:
            glyphs += [None] * (width - len(glyphs))
            styles += [None] * (width - len(styles))
        return glyphs, styles

    def _put(self, out: list[str], row: int, column: int, text: str, style: str) -> int:
        """Write a piece of narrow glyphs, as far as it differs from what stands there; return its width."""
        first, stop = column - 1, column - 1 + len(text)
        glyphs, styles = self._row(row, stop)
        if text.isspace():
            style = _of_blanks(style)
        wanted = list(text)
        known, looks = glyphs[first:stop], styles[first:stop]
        same = looks.count(style)
        if not same:
            glyphs[first:stop], styles[first:stop] = wanted, [style] * len(text)
            self._write(out, row, column, text, style)
            return len(text)
        if same == len(text):
            if known == wanted:
                return len(text)
            changed = [place for place, (old, new) in enumerate(zip(known, wanted, strict=True)) if old != new]
        else:
            changed = [
                place
                for place, (old, new) in enumerate(zip(known, wanted, strict=True))
                if old != new or looks[place] != style
            ]
        glyphs[first:stop] = wanted
        styles[first:stop] = [style] * len(text)
        begin = before = changed[0]
        for place in [*changed[1:], None]:
            if place is not None and place - before <= _JOIN_WITHIN:
                before = place
                continue
            self._write(out, row, column + begin, text[begin : before + 1], style)
            if place is not None:
                begin = before = place
        return len(text)

    def _write(self, out: list[str], row: int, column: int, text: str, style: str) -> None:
        at = self._cursor
        if at != (row, column):
            same_row = at is not None and at[0] == row and column > at[1]
            out.append(f"\x1b[{column - at[1]}C" if same_row and at is not None else f"\x1b[{row};{column}H")
        if self._pen != style:
            out.append(_change(self._pen, style))
            self._pen = style
        out.append(text)
        self._cursor = row, column + len(text)


@lru_cache(4096)
def _narrow(text: str) -> bool:
    """Return whether each character fills exactly one cell."""
    return text.isascii() or all(get_character_cell_size(char) == 1 for char in text)


@lru_cache(1024)
def _look(style: str) -> Look:
    attributes, colour, background = set(), "", ""
    numbers = style.split(";") if style else []
    place = 0
    while place < len(numbers):
        number = numbers[place]
        if number in ("38", "48"):
            size = 5 if numbers[place + 1 : place + 2] == ["2"] else 3
            told = ";".join(numbers[place : place + size])
            colour, background = (told, background) if number == "38" else (colour, told)
            place += size
            continue
        value = int(number)
        if 30 <= value <= 37 or 90 <= value <= 97:
            colour = number
        elif 40 <= value <= 47 or 100 <= value <= 107:
            background = number
        elif value not in (39, 49):
            attributes.add(number)
        place += 1
    return frozenset(attributes), colour, background


@lru_cache(1024)
def _of_blanks(style: str) -> str:
    """Return the style of cells without a glyph: what cannot be seen on them is left out."""
    attributes, _, background = _look(style)
    return style if attributes & _SHOWS_ON_BLANKS else background


@lru_cache(4096)
def _change(pen: str | None, style: str) -> str:
    """Return what makes a terminal that writes in the style `pen` write in another one."""
    whole = f"\x1b[0;{style}m" if style else "\x1b[0m"
    if pen is None:
        return whole
    (had, colour_before, ground_before), (has, colour, ground) = _look(pen), _look(style)
    if had - has:
        return whole
    parts = sorted(has - had)
    parts += [colour or "39"] if colour != colour_before else []
    parts += [ground or "49"] if ground != ground_before else []
    return f"\x1b[{';'.join(parts)}m" if parts else ""
