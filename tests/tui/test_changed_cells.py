"""What is written to the terminal in the place of what Textual writes: less, and the same cells stand there."""

from __future__ import annotations

import random
import re

from tui.changed_cells import SYNC_END, SYNC_START, ChangedCells

COLUMNS, LINES = 30, 6
STYLES = ("38;2;10;20;30;48;2;1;1;1", "1;38;2;10;20;30;48;2;1;1;1", "4;31", "97;41", "7", "38;5;9;48;5;10", "1;4")
TEXTS = ("▁▂▃ 0.31", "score 2.31", "x", "   ", "⣀⣠⡴", " a b ")
_TOKEN = re.compile(r"\x1b\[([0-9;]*)m|\x1b\[(\d+);(\d+)H|\x1b\[(\d+)C|(\n)|([^\x00-\x1f]+)")


class Terminal:
    """Obeys what it is told, and nothing else."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, str]] = {}
        self.row = self.column = 1
        self.pen: dict[str, str] = {}

    def feed(self, data: str) -> None:
        for style, row, column, right, line, text in _TOKEN.findall(data.replace("\x1b[?2026h", "")):
            if text:
                for glyph in text:
                    self.cells[self.row, self.column] = glyph, self._look(glyph)
                    self.column += 1
            elif row:
                self.row, self.column = int(row), int(column)
            elif right:
                self.column += int(right)
            elif line:
                self.row, self.column = self.row + 1, 1
            else:
                self._style(style)

    def _style(self, style: str) -> None:
        numbers = style.split(";")
        while numbers:
            number = numbers.pop(0)
            if number in ("", "0"):
                self.pen = {}
            elif number in ("38", "48"):
                size = 4 if numbers[0] == "2" else 2
                self.pen[number] = ";".join(numbers[:size])
                del numbers[:size]
            elif number in ("39", "49"):
                self.pen.pop("38" if number == "39" else "48", None)
            elif number[0] in "39" and len(number) == 2:
                self.pen["38"] = number
            elif number[0] in "41" and len(number) > 1:
                self.pen["48"] = number
            else:
                self.pen[number] = ""

    def _look(self, glyph: str) -> str:
        """Return what one sees of the pen: of the colour of a blank nothing, unless it is underlined or reversed."""
        seen = {
            name: value
            for name, value in self.pen.items()
            if glyph != " " or name == "48" or {"4", "7"} & set(self.pen)
        }
        return repr(sorted(seen.items()))


def frame(chance: random.Random) -> str:
    """Return some pieces in some places, as Textual writes them."""
    out = []
    for _ in range(chance.randint(1, 12)):
        text, style = chance.choice(TEXTS), chance.choice((*STYLES, ""))
        row, column = chance.randint(1, LINES), chance.randint(1, COLUMNS - len(text))
        out.append(f"\x1b[{row};{column}H" + (f"\x1b[{style}m{text}\x1b[0m" if style else text))
        out.append(chance.choice(("", "", "\n")))
    return "".join(out) + "\x1b[1;1H"


def test_the_same_cells_stand_in_the_terminal_whatever_is_drawn() -> None:
    chance = random.Random(7)
    plain, thrifty, cells = Terminal(), Terminal(), ChangedCells()
    for turn in range(400):
        drawn = frame(chance)
        plain.feed(drawn)
        thrifty.feed(cells.reduce(drawn))
        assert thrifty.cells == plain.cells, turn
        assert (thrifty.row, thrifty.column) == (1, 1)


def test_of_a_digit_that_changed_only_the_digit_is_written() -> None:
    cells, style = ChangedCells(), "38;2;10;20;30;48;2;1;1;1"
    cells.reduce(f"\x1b[3;5H\x1b[{style}mstep 411/2000\x1b[0m\x1b[1;1H")
    assert cells.reduce(f"\x1b[3;5H\x1b[{style}mstep 412/2000\x1b[0m\x1b[1;1H") == "\x1b[3;12H2\x1b[1;1H"


def test_what_stands_there_already_is_not_written_and_no_update_is_begun_for_it() -> None:
    cells, drawn = ChangedCells(), "\x1b[2;1H\x1b[31mred\x1b[0m\x1b[1;1H"
    assert [cells.reduce(part) for part in (SYNC_START, drawn, SYNC_END)] == [
        "",
        f"{SYNC_START}\x1b[2;1H\x1b[31mred\x1b[1;1H",
        SYNC_END,
    ]
    assert [cells.reduce(part) for part in (SYNC_START, drawn, SYNC_END)] == ["", "", ""]


def test_after_something_unknown_all_is_written_again() -> None:
    cells, drawn = ChangedCells(), "\x1b[2;1Habc\x1b[1;1H"
    cells.reduce(drawn)
    assert cells.reduce("\x1b[?1049h") == "\x1b[0m\x1b[?1049h"
    assert "abc" in cells.reduce(drawn)
    cells.forget()
    assert "abc" in cells.reduce(drawn)


def test_glyphs_that_fill_two_cells_are_always_written_and_nothing_is_taken_for_granted_after_them() -> None:
    cells, drawn = ChangedCells(), "\x1b[2;1H\x1b[31m世界\x1b[0m\x1b[31mabc\x1b[0m\x1b[1;1H"
    assert cells.reduce(drawn) == "\x1b[2;1H\x1b[31m世界\x1b[2;5Habc\x1b[1;1H"
    assert cells.reduce(drawn) == "\x1b[2;1H世界\x1b[1;1H"
