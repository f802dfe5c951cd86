"""Text from outside, shown and never obeyed."""

from __future__ import annotations


def visible(text: str) -> str:
    """Return the text with every control and bidirectional character shown instead of obeyed; tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible_character(character) for character in text)


def _visible_character(character: str) -> str:
    if character == "\t" or character.isprintable():
        return character
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
