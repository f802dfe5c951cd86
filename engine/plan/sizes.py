"""Amounts of memory, read and written."""

from __future__ import annotations

import re

from engine.errors import InvalidInput

_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)}
_AMOUNT = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([A-Za-z]*)")


def parse_size(text: str) -> int:
    """Return the bytes of "80GB" (80 · 10⁹), "79.1GiB" or "1000000". Raises InvalidInput if it is no amount."""
    match = _AMOUNT.fullmatch(text.strip())
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None or (size := int(float(match[1]) * unit)) < 1:
        raise InvalidInput(f"{text[:80]!r} is no amount of memory.", hint="Write 80GB or 79.1GiB, for example.")
    return size


def in_words(size: float) -> str:
    """Return an amount for people, in powers of 1000: "26.0 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 999.95:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
