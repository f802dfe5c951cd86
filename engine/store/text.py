"""Text as a database can keep it."""

from __future__ import annotations

import re
from typing import Any

_UNPAIRED = re.compile("[\ud800-\udfff]")  # surrogates: UTF-8 has no word for them


def storable(text: str) -> str:
    """Return the text with U+FFFD in place of what UTF-8 cannot say."""
    return text if text.isascii() else _UNPAIRED.sub("\ufffd", text)


def storable_document(document: Any) -> Any:
    """Return a JSON document whose every text is storable."""
    if isinstance(document, str):
        return storable(document)
    if isinstance(document, list):
        return [storable_document(item) for item in document]
    if isinstance(document, dict):
        return {storable(key): storable_document(value) for key, value in document.items()}
    return document
