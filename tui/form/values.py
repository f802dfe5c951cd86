"""Values of fields as text: as they are shown, as they are edited, and as `--set` takes them."""

from __future__ import annotations

import json
import re
from typing import Any

from tui.form.fields import MISSING, Field, Shape

_PLAIN = re.compile(r"[A-Za-z_./~$][\w ./~+=@${}-]*")  # text that YAML reads as it stands, but for these words
_WORDS = frozenset({"null", "~", "true", "false", "yes", "no", "on", "off", "y", "n"})
_NULLS = ("", "null", "none", "~")


def shown(value: Any) -> str:
    """Return a value on one line, as YAML has it; nothing for none."""
    if value is MISSING:
        return ""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_item(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_item, value)) + "]"
    return str(value)


def _item(value: Any) -> str:
    return _text(value) if isinstance(value, str) else shown(value)


def cell(field: Field) -> str:
    """Return what stands in the form beside the name of a field."""
    if field.shape is Shape.HEADING:
        return field.note
    if field.shape is Shape.NAMES and isinstance(field.value, dict):
        return ", ".join(field.value)
    if field.shape is Shape.SECTION and isinstance(field.value, dict):
        return ""
    return "" if field.value in ([], ()) else shown(field.value)


def editable(field: Field) -> str:
    """Return the text that one begins to edit."""
    return "" if field.value is None or field.value is MISSING or field.value == [] else shown(field.value)


def yaml_of(field: Field, text: str) -> str:
    """Return the YAML of what was typed into a field."""
    text = text.strip()
    if field.nullable and text.lower() in _NULLS:
        return "null"
    if field.shape in (Shape.TEXT, Shape.PATH):
        return _text(text)
    if field.shape is Shape.LIST and not text.startswith("["):
        return "[" + ", ".join(_text(part.strip()) for part in text.split(",") if part.strip()) + "]"
    return text


def _text(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS and text == text.strip()
    return text if plain else json.dumps(text, ensure_ascii=False)


def next_choice(field: Field, by: int) -> str | None:
    """Return the choice after (1) or before (-1) the one that a field has, as text; null where there are none."""
    if field.shape is Shape.TRUTH:
        return "false" if field.value is True else "true"
    if field.shape is not Shape.CHOICE:
        return None
    choices = [*(["null"] if field.nullable else []), *(choice for choice in field.choices if choice != "null")]
    now = shown(field.value)
    at = choices.index(now) + by if now in choices else 0
    return choices[at % len(choices)]
