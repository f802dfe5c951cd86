"""Markdown (CommonMark and tables): its text, with the marks that mean something to a reader."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.rag.reading.cleaning import normal
from engine.rag.reading.composition import Composition
from engine.rag.reading.contents import decoded, read_bytes
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.html import Page, feed
from engine.rag.reading.metadata import scalars
from engine.rag.reading.rules import Found, Rules

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"---\n(.{0,20000}?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_NESTING = 100  # of lists and quotations; what is deeper is lost, and the parser recurses
_BREAK = re.compile(r"<br\s*/?>", re.I)


def read_markdown(file: CorpusFile, rules: Rules) -> Found:
    """Yield the document of a Markdown file; headings begin sections, front matter is metadata. Raises Unreadable."""
    from markdown_it import MarkdownIt

    metadata, source = _front_matter(normal(decoded(read_bytes(file.path, rules))))
    tokens = MarkdownIt("commonmark", {"maxNesting": _NESTING}).enable(["table", "strikethrough"]).parse(source)
    writing = _Writing(Composition(rules))
    for token in tokens:
        writing.take(token)
    title = metadata.get("title")
    if not isinstance(title, str):
        title = writing.composition.first_heading()
    yield writing.composition.document(file.name, title, scalars(metadata, rules, {"title"}))


def _front_matter(source: str) -> tuple[Mapping[Any, Any], str]:
    """Return what stands in YAML before the text, and the text; what is no valid mapping is text."""
    found = _FRONT_MATTER.match(source)
    if found is None:
        return {}, source
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.events import AliasEvent

    yaml = YAML(typ="safe", pure=True)
    try:
        # an alias may stand for so many values that they fill the memory
        if any(isinstance(event, AliasEvent) for event in yaml.parse(io.StringIO(found[1]))):
            return {}, source
        values = yaml.load(found[1])
    except (YAMLError, ValueError, OverflowError, RecursionError):
        return {}, source
    return (values, source[found.end() :]) if isinstance(values, dict) else ({}, source)


class _Writing:
    """Writes the parser's tokens into a composition. A list, a quotation or a table is one block of lines."""

    def __init__(self, composition: Composition) -> None:
        self.composition = composition
        self._heading = 0
        self._open = 0  # lists, quotations and tables around the present token
        self._items: list[str] = []  # bullet of each open item, "" once it stands on a line
        self._lines: list[str] = []
        self._cells: list[str] | None = None

    def take(self, token: Token) -> None:
        """Write one token."""
        kind = token.type
        if kind in ("bullet_list_open", "ordered_list_open", "blockquote_open", "table_open"):
            self._open += 1
        elif kind in ("bullet_list_close", "ordered_list_close", "blockquote_close", "table_close"):
            self._open -= 1
            if not self._open:
                self.composition.block("\n".join(self._lines))
                self._lines = []
        elif kind == "list_item_open":
            self._items.append(f"{token.info}{token.markup} " if token.info else "- ")
        elif kind == "list_item_close":
            self._items.pop()
        elif kind == "tr_open":
            self._cells = []
        elif kind == "tr_close":
            self._write(" | ".join(self._cells or []))
            self._cells = None
        elif kind == "heading_open":
            self._heading = int(token.tag[1:])
        elif kind == "heading_close":
            self._heading = 0
        else:
            self._take_text(token)

    def _take_text(self, token: Token) -> None:
        if token.type == "inline":
            words = _words(token.children or ())
            if self._cells is not None:
                self._cells.append(words)
            elif self._heading and not self._open:
                self.composition.heading(self._heading, words)
            else:
                self._write(words)
        elif token.type in ("fence", "code_block"):
            self._write(token.content)
        elif token.type == "html_block":
            if self._open:
                self._write(token.content)
            else:
                feed(token.content, Page(self.composition))

    def _write(self, text: str) -> None:
        if not self._open:
            self.composition.block(text)
            return
        for line in text.rstrip("\n").split("\n"):
            bullet = self._items[-1] if self._items else ""
            if bullet:
                self._items[-1] = ""
            self._lines.append("  " * (len(self._items) - bool(bullet)) + bullet + line)


def _words(tokens: Sequence[Token]) -> str:
    """Return the text of a line's tokens: of links their words, of images their descriptions, no HTML tags."""
    text = []
    for token in tokens:
        if token.type == "softbreak":
            text.append(" ")
        elif token.type == "hardbreak" or (token.type == "html_inline" and _BREAK.fullmatch(token.content)):
            text.append("\n")
        elif token.type in ("text", "code_inline", "text_special"):
            text.append(token.content)
        elif token.type == "image":
            text.append(_words(token.children or ()))
    return "".join(text)
