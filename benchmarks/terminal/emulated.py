"""What stands on the screen of a terminal: enough of one for what Textual writes."""

from __future__ import annotations

import codecs
import re

from rich.cells import get_character_cell_size

_TOKENS = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f]+)"
    r"|\x1b\[(?P<arguments>[0-9:;<=>?]*)[ -/]*(?P<final>[@-~])"
    r"|\x1b[\]P^_].*?(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-Z\\^-~]"
    r"|(?P<control>[\x00-\x1a\x1c-\x1f\x7f])",
    re.DOTALL,
)
_UNFINISHED = 4_096  # characters that may wait for the end of a sequence


class Screen:
    """A grid of characters with their styles. Style is the sequence that set it: only good to see that it changed."""

    def __init__(self, columns: int, lines: int) -> None:
        self.columns, self.lines = columns, lines
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._column = self._line = 0
        self._style = ""
        self._clear()

    def feed(self, data: bytes) -> None:
        """Take in what was written."""
        text = self._rest + self._decoder.decode(data)
        at = 0
        while at < len(text):
            found = _TOKENS.match(text, at)
            if found is None:
                if len(text) - at < _UNFINISHED:
                    break
                at += 1
                continue
            at = found.end()
            if found["text"]:
                self._write(found["text"])
            elif found["final"]:
                self._obey(found["arguments"], found["final"])
            elif found["control"]:
                self._control(found["control"])
        self._rest = text[at:]

    def row(self, line: int) -> str:
        """Return the text of a line."""
        return "".join(self.glyphs[line])

    def text(self) -> str:
        """Return all lines."""
        return "\n".join(map("".join, self.glyphs))

    def _clear(self) -> None:
        self.glyphs = [[" "] * self.columns for _ in range(self.lines)]
        self.styles = [[""] * self.columns for _ in range(self.lines)]

    def _write(self, text: str) -> None:
        for glyph in text:
            width = get_character_cell_size(glyph)
            if width and self._line < self.lines and self._column + width <= self.columns:
                glyphs, styles = self.glyphs[self._line], self.styles[self._line]
                for cell in range(width):
                    glyphs[self._column + cell] = "" if cell else glyph
                    styles[self._column + cell] = self._style
            self._column += width

    def _control(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._line = min(self._line + 1, self.lines - 1)

    def _obey(self, arguments: str, final: str) -> None:
        if final == "m":
            self._style = arguments
        elif final in "Hf":
            numbers = [int(part or 1) for part in (arguments or "1").split(";")]
            self._line, self._column = numbers[0] - 1, (numbers[1] if len(numbers) > 1 else 1) - 1
        elif final == "C":
            self._column += int(arguments or 1)
        elif final == "J":
            self._clear()
        elif final == "K":
            glyphs = self.glyphs[self._line]
            glyphs[self._column :] = [" "] * (self.columns - self._column)


def without_sequences(text: str) -> str:
    """Return what is text in something written to a terminal, all else as line breaks."""
    return _TOKENS.sub(lambda found: found["text"] or "\n", text)
