"""A curve in one line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tui.canvas.charset import Charset, current


def sparkline(values: Sequence[float], width: int, charset: Charset | None = None) -> str:
    """Return at most `width` characters, one for each run of values; `✕` where one of them is not finite.

    Of the values that share a character, the one farthest from the middle of the whole is shown.
    """
    glyphs = charset or current()
    count = min(width, len(values))
    if count <= 0:
        return ""
    numbers = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(numbers)
    if not finite.any():
        return glyphs.gap * count
    numbers = np.clip(numbers, -1e300, 1e300)
    low, high = float(numbers[finite].min()), float(numbers[finite].max())
    top = len(glyphs.spark) - 1
    heights = (numbers - low) / (high - low) if high > low else np.full(numbers.size, 0.5)
    bounds = np.linspace(0, numbers.size, count + 1).round().astype(int)
    text = []
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if not finite[start:stop].all():
            text.append(glyphs.gap)
            continue
        part = heights[start:stop]
        text.append(glyphs.spark[round(float(part[np.abs(part - 0.5).argmax()]) * top)])
    return "".join(text)
