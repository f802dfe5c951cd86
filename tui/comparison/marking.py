"""An answer as text with marks: what the other one does not have, and what no passage supports."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from textual.content import Content

from engine.report.comparing.words import Span
from tui.text.safe import visible

OPEN, CLOSE = "{", "}"
_DIFFERS, _UNSUPPORTED, _BRACE = "bold underline", "$error", "bold $error"


def marked(text: str, weak: Iterable[Span], differing: Iterable[Span]) -> Content:
    """Return a text of any lines: unsupported sentences stand in braces, differing words are underlined."""
    weak, differing = list(weak), list(differing)
    cuts = sorted({0, len(text), *(end for span in (*weak, *differing) for end in span)})
    parts: list[tuple[str, str]] = []
    for start, end in pairwise(cuts):
        if any(begin == start for begin, _ in weak):
            parts.append((OPEN, _BRACE))
        styles = [_UNSUPPORTED] if _within(start, weak) else []
        styles += [_DIFFERS] if _within(start, differing) else []
        parts.append(("\n".join(map(visible, text[start:end].split("\n"))), " ".join(styles)))
        if any(stop == end for _, stop in weak):
            parts.append((CLOSE, _BRACE))
    return Content.assemble(*parts) if text.strip() else Content.assemble(("(nothing)", "$foreground 60%"))


def _within(place: int, spans: Iterable[Span]) -> bool:
    return any(start <= place < end for start, end in spans)
