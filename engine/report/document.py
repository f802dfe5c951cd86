"""An HTML file that holds everything: its style inside, no script, no network."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.report.markup import Html, joined, tag

_STYLE = Path(__file__).with_name("page.css")
# Nothing but what stands in the file, whatever a text from outside tries.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def document(title: str, sections: Iterable[Html], *, wide: bool = False) -> str:
    """Return a page. wide: whether it takes the room that tables of many columns need."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        Html(f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>"),
    )
    body = tag("body", joined(sections, Html("\n")), class_="broad" if wide else None)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"
