"""HTML: what a reader of the page sees, by libxml2's parser, which builds no tree here."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

from engine.rag.reading.cleaning import normal
from engine.rag.reading.composition import Composition
from engine.rag.reading.contents import decoded, read_bytes
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.metadata import scalars
from engine.rag.reading.rules import Found, Rules, Unreadable

_FED = 65536
_DECLARED_WITHIN = 4096
_DECLARATION = re.compile(
    rb"""<meta\b[^>]{0,300}?charset\s*=\s*["']?\s*([\w.:-]+)|^\s*<\?xml\b[^>]{0,300}?encoding\s*=\s*["']([\w.:-]+)""",
    re.I,
)
# What pages declare and browsers read as something wider (WHATWG Encoding Standard), by Python's names.
_READ_AS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "utf-16": "utf-8",
    "utf-16-le": "utf-8",
    "utf-16-be": "utf-8",
}
_READ = re.compile(r"utf-8|utf-16(-[bl]e)?|ascii|iso8859-\d+|cp(125\d|866|874|932|949)|koi8-[ru]|mac-roman|"
                   r"gb(2312|k|18030)|big5|big5hkscs|euc_(jp|kr)|shift_jis|iso2022_jp")  # fmt: skip

_LEFT_OUT = frozenset(
    [
        "script",
        "style",
        "noscript",
        "template",
        "nav",
        "svg",
        "canvas",
        "iframe",
        "object",
        "audio",
        "video",
        "select",
        "textarea",
        "datalist",
        "dialog",
    ]
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_PARAGRAPHS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "details",
        "div",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "main",
        "p",
        "pre",
        "section",
        "summary",
        "tbody",
        "tfoot",
        "thead",
    ]
)
_LISTS = frozenset(["ul", "ol", "dl", "menu"])
_LINES = frozenset(["li", "dt", "dd", "tr"])
_CELLS = frozenset(["td", "th"])
_SPACE = re.compile(r"[ \t\n]+")
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_META = frozenset(["author", "date"])


def read_html(file: CorpusFile, rules: Rules) -> Found:
    """Yield the document of an HTML file; headings begin sections. Raises Unreadable."""
    content = read_bytes(file.path, rules)
    source = normal(decoded(content, _declared(content)))
    page = Page(Composition(rules))
    feed(source, page)
    title = page.title or page.composition.first_heading()
    yield page.composition.document(file.name, title, scalars(page.metadata, rules))


def feed(source: str, page: Page) -> None:
    """Parse HTML, whole or a part of a page, into `page`. Raises Unreadable."""
    from lxml import etree

    parser = etree.HTMLParser(target=page, encoding="utf-8", huge_tree=True)
    content = source.encode()
    try:
        for start in range(0, len(content), _FED):
            parser.feed(content[start : start + _FED])
        if content:
            parser.close()
    except etree.LxmlError as error:
        if "no element found" not in str(error):  # a page of comments alone: empty
            raise Unreadable(f"is not HTML: {error}") from error
    page.close()


def _declared(content: bytes) -> str:
    """Return the encoding that a page declares, by Python's name; UTF-8 if none. Raises Unreadable if unknown."""
    found = _DECLARATION.search(content[:_DECLARED_WITHIN])
    if found is None:
        return "utf-8"
    label = (found[1] or found[2]).decode("ascii")
    try:
        name = codecs.lookup(label).name
    except LookupError:
        name = ""
    if not _READ.fullmatch(name):
        raise Unreadable(f"declares the character set {label[:40]!r}, which is not known")
    return _READ_AS.get(name, name)


def _unseen(tag: str, attributes: Mapping[str, str]) -> bool:
    """Tell whether an element is navigation, or not shown. The page itself always is: scripts unveil it."""
    if tag in ("html", "body"):
        return False
    style = attributes.get("style")
    return (
        "hidden" in attributes
        or attributes.get("role") == "navigation"
        or (style is not None and _INVISIBLE.search(style) is not None)
    )


class Page:
    """The target of the parser's events: a page's text, block by block.

    Items of lists and rows of tables are lines of one block. What comes between two words is decided when the second
    one is there: the last element that begins or ends there decides.
    """

    def __init__(self, composition: Composition) -> None:
        self.composition = composition
        self.title = ""
        self.metadata: dict[str, str] = {}
        self._text: list[str] = []  # of the present block
        self._break = ""  # what comes before the next word
        self._bullet = ""  # what comes after that break
        self._fixed = False  # an item or cell begins here: paragraphs in it change nothing
        self._row_begun = False
        self._left_out = 0  # open elements, from the one that is left out
        self._lists = 0
        self._pre = 0
        self._heading = 0  # level of the one that is open
        self._in_title = False

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        if self._left_out:
            self._left_out += 1
        elif tag in _LEFT_OUT or _unseen(tag, attributes):
            self._left_out = 1
        elif tag in _HEADINGS:
            self._end_block()
            self._heading = _HEADINGS[tag]
        elif tag in _LISTS or tag == "table":
            self._begin_group(tag)
        elif tag in _LINES:
            self._break, self._fixed, self._row_begun = "\n", True, False
            self._bullet = "  " * (self._lists - 1) + "- " if tag == "li" else ""
        elif tag in _CELLS:
            self._break, self._fixed = " | " if self._row_begun else self._break, True
        else:
            self._start_other(tag, attributes)

    def _start_other(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag in _PARAGRAPHS:
            self._end_paragraph()
            self._pre += tag == "pre"
        elif tag == "br":
            self._break = "\n" if self._break != "\n\n" else self._break
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "html" and attributes.get("lang"):
            self.metadata["lang"] = attributes["lang"].strip()
        elif tag == "meta" and attributes.get("name", "").lower() in _META and attributes.get("content"):
            self.metadata[attributes["name"].lower()] = attributes["content"].strip()

    def end(self, tag: str) -> None:
        """An element ends."""
        if self._left_out:
            self._left_out -= 1
        elif tag in _HEADINGS:
            self._end_block()
        elif tag in _LISTS or tag == "table":
            self._end_group(tag)
        elif tag in _LINES:
            self._break, self._bullet, self._fixed = "\n", "", False
        elif tag in _CELLS:
            self._fixed = False
        elif tag in _PARAGRAPHS:
            self._pre = max(0, self._pre - (tag == "pre"))
            self._end_paragraph()
        elif tag == "title":
            self._in_title = False

    def data(self, text: str) -> None:
        """A piece of text; one text may come in several."""
        if self._left_out:
            return
        if self._in_title:
            self.title += text[: 1000 - len(self.title)]
        elif self._pre:
            self._write(text)
        else:
            words = _SPACE.sub(" ", text)
            if words.startswith(" "):
                self._break = self._break or " "
            if words.strip(" "):
                self._write(words.strip(" "))
                self._break = " " if words.endswith(" ") else ""

    def close(self) -> None:
        """The page, or the part of one, ends."""
        self._end_block()

    def _write(self, text: str) -> None:
        if self._break == "\n\n" and not self._heading:
            bullet = self._bullet
            self._end_block()
            self._bullet = bullet
        if self._text:
            self._text.append(" " if self._heading and self._break else self._break)
        self._text += [self._bullet, text]
        self._break = self._bullet = ""
        self._fixed, self._row_begun = False, True

    def _end_paragraph(self) -> None:
        if not self._fixed:
            self._break = "\n\n"

    def _begin_group(self, tag: str) -> None:
        if tag == "table" or not self._lists:
            self._end_block()
        self._lists += tag != "table"

    def _end_group(self, tag: str) -> None:
        self._lists = max(0, self._lists - (tag != "table"))
        if tag == "table" or not self._lists:
            self._end_block()

    def _end_block(self) -> None:
        text = "".join(self._text)
        if self._heading:
            self.composition.heading(self._heading, text)
        else:
            self.composition.block(text)
        self._text = []
        self._break = self._bullet = ""
        self._fixed = False
        self._heading = 0
