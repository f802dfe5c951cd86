"""A document composed of blocks, with the section that each part of its text stands in."""

from __future__ import annotations

from collections.abc import Mapping

from engine.rag.reading.cleaning import clean, one_line
from engine.rag.reading.rules import Rules, Unreadable, require_short
from engine.rag.records import Document, Scalar, Section

_PATH_CHARACTERS = 400  # of a section's headings together: they stand in every chunk


class Composition:
    """Blocks of text one after another, a blank line between them; headings begin sections.

    Raises:
        Unreadable: from every method, as soon as the text is longer than `max_characters`.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._blocks: list[str] = []
        self.length = 0  # characters of the text so far
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []  # headings that stand open: level, words

    def block(self, text: str) -> bool:
        """Add a block; tell whether anything is left of it when it is clean."""
        text = clean(text)
        if not text:
            return False
        self._begin()
        self._blocks.append(text)
        self.length += len(text)
        require_short(self.length, self._rules)
        return True

    def heading(self, level: int, text: str) -> None:
        """Add a heading (level 1: outermost) and begin its section; an empty one is none."""
        words = one_line(text)
        if not words:
            return
        self._path = [(above, name) for above, name in self._path if above < level] + [(level, words)]
        self.section(" > ".join(name for _, name in self._path))
        self.block(words)

    def section(self, heading: str) -> None:
        """Begin a section at the next block; one that gets no block vanishes."""
        start = self.length + (2 if self._blocks else 0)
        if self._sections and self._sections[-1].start == start:
            self._sections.pop()
        self._sections.append(Section(start, heading[:_PATH_CHARACTERS]))

    def first_heading(self) -> str:
        """Return the words of the first heading, without those above it; "" if there is none."""
        return next((section.heading for section in self._sections if section.heading), "")

    def document(self, name: str, title: str, metadata: Mapping[str, Scalar]) -> Document:
        """Return the document of a file. Raises Unreadable if it is empty."""
        if not self._blocks:
            raise Unreadable("is empty")
        sections = self._sections
        if sections and sections[-1].start >= self.length:
            sections = sections[:-1]
        if sections and sections[0].start:
            sections = [Section(0, ""), *sections]
        return Document(name, "\n\n".join(self._blocks), name, one_line(title), metadata, tuple(sections))

    def _begin(self) -> None:
        if self._blocks:
            self.length += 2
