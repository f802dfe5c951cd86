"""Numbers as people read them: three significant digits, a suffix or a short exponent, durations in units."""

from __future__ import annotations

import math
import re

_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _plain(value: float, digits: int) -> str:
    """Return at least `digits` significant digits without an exponent, trailing zeros dropped."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(value: float, digits: int = 3) -> str:
    """Return e.g. "2.31", "18.2k", "2e-6", "nan": `digits` significant digits, six to eight characters at most."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    size = abs(rounded)
    if size < 1e-3 or size >= 1e15:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{mantissa}e{int(exponent)}"
    if size >= 10_000:
        scale, suffix = next((scale, suffix) for scale, suffix in _SUFFIXES if size >= scale)
        return _plain(rounded / scale, digits) + suffix
    return _plain(value, digits)


def exact(value: float) -> str:
    """Return the value with seven significant digits: all that a float32 holds."""
    return f"{value:.7g}" if math.isfinite(value) else str(value)


def since(seconds: float) -> str:
    """Return in its largest unit how long ago something was, e.g. "9 s", "4m", "3h", "2d": it seldom changes."""
    told = duration(seconds)
    return told if told.endswith(" s") or told == "–" else re.split(r"(?<=[mhd])", told, maxsplit=1)[0]


def duration(seconds: float) -> str:
    """Return e.g. "9 s", "4m10", "3h05", "2d04h"."""
    if not math.isfinite(seconds):
        return "–"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
