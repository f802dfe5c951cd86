"""Plain text."""

from __future__ import annotations

from engine.rag.reading.composition import Composition
from engine.rag.reading.contents import decoded, read_bytes
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.rules import Found, Rules, Unreadable

_UTF8_BYTES = 4  # of the widest character


def read_text(file: CorpusFile, rules: Rules) -> Found:
    """Yield the document of a text file. Raises Unreadable."""
    content = read_bytes(file.path, rules)
    if len(content) > rules.max_characters * _UTF8_BYTES:  # of which an enormous one is not decoded at all
        raise Unreadable(f"has {len(content):,} bytes, too many for max_characters ({rules.max_characters:,})")
    composition = Composition(rules)
    composition.block(decoded(content))
    yield composition.document(file.name, "", {})
