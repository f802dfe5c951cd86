"""Texts of empty panes: the keys that lead on stand out."""

from __future__ import annotations

import re

from textual.content import Content

_KEY = re.compile(r"^\S{1,5}(?=  +\S)", re.MULTILINE)


def with_keys(text: str) -> Content:
    """Return the text; what begins a line and stands before two blanks is shown as a key."""
    content = Content(text)
    for found in _KEY.finditer(text):
        content = content.stylize("bold $accent", *found.span())
    return content
