"""Markdown, HTML and PDF: their text without the marks, their titles, sections and metadata."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pypdf import PdfWriter

from engine.rag.records import Document, Section
from engine.spec.rag import Corpus
from tests.rag.reading_files import deflated, pdf, read, words


def only(path: Path) -> Document:
    documents, rejected = read(path)
    assert rejected == {}
    assert len(documents) == 1
    return documents[0]


MARKDOWN = """---
title: The page
lang: en
date: 2024-01-02
tags: [a, b]
---
Before any heading.

# Head *one*

Some [link](http://x.y) and `code`, &amp; wrapped
line.  \nA hard break ![picture](p.png).

- item
  - nested
    1. deep

  para
2. second

Sub
---
```python
def f():

    return "# no heading"
```

| a | b |
|---|---|
| 1 | **2** |

> quoted

<div><h3>From <b>HTML</b></h3><p>Inside.</p></div>
<script>no()</script>

# Last
"""


def test_markdown(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(MARKDOWN)
    document = only(tmp_path / "a.md")
    assert document.title == "The page"
    assert document.metadata == {"lang": "en", "date": "2024-01-02"}
    assert document.text.split("\n\n") == [
        "Before any heading.",
        "Head one",
        "Some link and code, & wrapped line.\nA hard break picture.",
        "- item\n  - nested\n    1. deep\n  para",
        "2. second",
        "Sub",
        'def f():',
        '    return "# no heading"',
        "a | b\n1 | 2",
        "quoted",
        "From HTML",
        "Inside.",
        "Last",
    ]  # fmt: skip
    assert [section.heading for section in document.sections] == [
        "", "Head one", "Head one > Sub", "Head one > Sub > From HTML", "Last"
    ]  # fmt: skip
    assert [document.text[section.start :].split("\n")[0] for section in document.sections] == [
        "Before any heading.", "Head one", "Sub", "From HTML", "Last"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "front", ["---\na: &a [1]\nb: *a\n---\nText", "---\nno mapping\n---\nText", "---\na: [\n---\nText"]
)
def test_front_matter_that_is_none_is_text(tmp_path: Path, front: str) -> None:
    (tmp_path / "a.md").write_text(front)
    document = only(tmp_path / "a.md")
    assert document.metadata == {}
    assert document.text.endswith("Text")


HTML = """<!doctype html><html lang=en><head><title>The &amp; title</title><style>p{}</style>
<meta name=Author content=Me></head><body style="visibility: hidden"><nav>Menu <h1>no</h1></nav>
<h1>One <em>two</em></h1>
<p>Hello <b>bo</b>ld   world.<br>Line
two &eacute;</p><p hidden>secret</p><span style="display:none">secret</span>
<ul><li>a<li><p>b</p><ul><li>c</ul></ul>after<script>x()</script>
<table><tr><th>h1<th>h2</tr><tr><td><p>x</p></td><td><p>y</p></td></tr></table>
<pre>
def f():
    <b>return</b> 1
</pre><div><div>deep</div> text</div>
<h3>Three</h3>x<h2>Two<br>lines</h2>tail</body></html>"""


def test_html(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(HTML)
    document = only(tmp_path / "a.html")
    assert document.title == "The & title"
    assert document.metadata == {"lang": "en", "Author".lower(): "Me"}
    assert document.text.split("\n\n") == [
        "One two",
        "Hello bold world.\nLine two é",
        "- a\n- b\n  - c",
        "after",
        "h1 | h2\nx | y",
        "def f():\n    return 1",
        "deep",
        "text",
        "Three",
        "x",
        "Two lines",
        "tail",
    ]
    assert [(document.text[section.start :].split("\n")[0], section.heading) for section in document.sections] == [
        ("One two", "One two"),
        ("Three", "One two > Three"),
        ("Two lines", "One two > Two lines"),
    ]


def test_a_declared_character_set_is_honoured_and_a_wrong_one_named(tmp_path: Path) -> None:
    pages = {
        "windows-1251": ("слово".encode("cp1251"), "слово"),
        "ISO-8859-1": (b"\x93quoted\x94 \xe9", "“quoted” é"),
        "gb2312": ("文字".encode("gb18030"), "文字"),
        "utf-16": ("é".encode(), "é"),
        "utf-8": (b"\xe9", "is not UTF-8: unexpected end of data at byte 55 (0xe9)"),
        "punycode": (b"e", "declares the character set 'punycode', which is not known"),
        "zip": (b"e", "declares the character set 'zip', which is not known"),
    }
    for charset, (content, _) in pages.items():
        declared = f'<meta http-equiv=x content="text/html; charset={charset}">'
        (tmp_path / f"{charset}.html").write_bytes(declared.encode() + content)
    (tmp_path / "mark.html").write_bytes("\ufeffé<meta charset=ascii>".encode("utf-16-le"))
    documents, rejected = read(tmp_path)
    found = {document.id: document.text for document in documents} | rejected
    assert found == {"mark.html": "é", **{f"{charset}.html": text for charset, (_, text) in pages.items()}}


def test_pdf_pages_are_sections(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(words("First", "line"), words("Second"), b"", deflated(words("Fourth"))))
    writer = PdfWriter(clone_from=tmp_path / "a.pdf")
    writer.add_metadata({"/Title": "A \x00título", "/Author": "Me"})
    writer.encrypt("", "owner", algorithm="AES-256")
    writer.write(tmp_path / "b.pdf")
    writer.encrypt("secret")
    writer.write(tmp_path / "c.pdf")
    (tmp_path / "d.pdf").write_bytes(pdf(b"", b""))
    documents, rejected = read(tmp_path)
    assert [document.id for document in documents] == ["a.pdf", "b.pdf"]
    for document in documents:
        assert document.text == "First\nline\n\nSecond\n\nFourth"
        assert document.sections == (Section(0, "page 1"), Section(12, "page 2"), Section(20, "page 4"))
    assert documents[1].title == "A título"
    assert documents[1].metadata == {"pages": 4, "author": "Me"}
    assert rejected == {
        "c.pdf": "is encrypted, and opens with a password alone",
        "d.pdf": "has no text; its pages may be pictures",
    }


HEADINGS = st.integers(1, 6).map(lambda level: ("#" * level, True))
BLOCKS = st.lists(st.tuples(HEADINGS | st.just(("", False)), st.text("ab é東", min_size=1, max_size=8)), max_size=12)


@settings(max_examples=60)
@given(BLOCKS)
def test_sections_begin_at_their_headings_and_know_those_above(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[tuple[tuple[str, bool], str]]
) -> None:
    from engine.rag.reading.files import CorpusFile
    from engine.rag.reading.markdown import read_markdown
    from engine.rag.reading.rules import Unreadable, rules_of

    file = tmp_path_factory.getbasetemp() / "sections.md"
    source = "\n\n".join(f"{marks} {text}".strip() for (marks, _), text in blocks)
    file.write_text(source)
    try:
        (document,) = read_markdown(CorpusFile(str(file), "s.md", "markdown"), rules_of(Corpus(path=str(file))))
    except Unreadable:
        assert not source.replace("#", "").strip()
        return
    assert isinstance(document, Document)
    starts = [section.start for section in document.sections]
    assert starts == sorted(set(starts))
    path: list[tuple[int, str]] = []
    expected = []
    for (marks, is_heading), text in blocks:
        if is_heading and text.strip():
            path = [(level, name) for level, name in path if level < len(marks)] + [
                (len(marks), " ".join(text.split()))
            ]
            expected.append(" > ".join(name for _, name in path))
    found = [section for section in document.sections if section.heading]
    assert [section.heading for section in found] == expected
    for section in found:
        assert document.text[section.start :].split("\n")[0] == section.heading.split(" > ")[-1]
        assert section.start == 0 or document.text[section.start - 2 : section.start] == "\n\n"
