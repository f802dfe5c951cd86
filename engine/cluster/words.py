"""What a program said at its end, as half a sentence."""

from __future__ import annotations

from collections.abc import Sequence

_IDLE = (" ", "[notice]", "hint:", "note:", "WARNING")


def last_words(lines: Sequence[str]) -> str:
    """Return the line that tells why it failed, without its full stop: of pip the last error, else the last line."""
    telling = [line.strip() for line in lines if line.strip() and not line.startswith(_IDLE)]
    errors = [line for line in telling if line.lower().startswith("error")]
    said = (errors or telling or ["it says nothing"])[-1]
    return said.removeprefix("ERROR: ").removeprefix("error: ").rstrip(".")
