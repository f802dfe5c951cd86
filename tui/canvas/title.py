"""What a title row says in the room that it has: names before values, and no word cut without a sign."""

from __future__ import annotations

from collections.abc import Sequence

from tui.canvas.frame import Ink, Span

_PART = "  "  # begins the part of a title that tells of a further series
_SHORTEST = 3  # letters of a name


def fitted(title: Sequence[Span], room: int) -> list[Span]:
    """Return a title in at most `room` cells.

    First the further series lose their values, then the ends of their names; what has no room even so stays away.
    """
    first, *others = _parts(title)
    if _size(first) + sum(map(_size, others)) <= room:
        return list(title)
    named = [part[:2] for part in others]
    spare = room - _size(first) - sum(len(part[0][0]) for part in named)
    longest = max((len(part[-1][0].strip()) for part in named), default=0)
    for most in range(longest, _SHORTEST - 1, -1):
        short = [[part[0], (_cut(part[-1][0], most), part[-1][1])] if len(part) > 1 else part for part in named]
        if sum(len(part[-1][0]) for part in short if len(part) > 1) <= spare:
            return [*first, *(span for part in short for span in part)]
    kept, left = list(first), room - _size(first)
    for part in named:
        if _size(part) + 2 > left:
            return [*kept, (" …", Ink.ASIDE)] if left >= 2 else kept
        kept += part
        left -= _size(part)
    return kept


def _parts(title: Sequence[Span]) -> list[list[Span]]:
    parts: list[list[Span]] = [[]]
    for span in title:
        if span[0].startswith(_PART):
            parts.append([])
        parts[-1].append(span)
    return parts


def _size(part: Sequence[Span]) -> int:
    return sum(len(text) for text, _ in part)


def _cut(name: str, most: int) -> str:
    name = name.strip()
    return name if len(name) <= most else f"{name[: most - 1]}."
