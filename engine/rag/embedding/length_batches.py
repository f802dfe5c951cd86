"""Texts of like lengths together, so that little is computed for padding."""

from __future__ import annotations

from collections.abc import Sequence

_MOST_TEXTS = 1024
_MOST_CHARACTERS = 4_000_000  # with padding: what their numbers take is some 30 MB


def slabs(texts: Sequence[str]) -> list[list[int]]:
    """Return the numbers of all texts, longest first, in the groups that are tokenized together.

    A group has up to 1024 texts and, were all as long as its longest, four million characters; at least one text.
    Depends on the lengths alone; equal ones stay in their order.
    """
    order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
    groups: list[list[int]] = []
    most = 0
    for number in order:
        if not groups or len(groups[-1]) == most:
            groups.append([])
            most = min(_MOST_TEXTS, max(1, _MOST_CHARACTERS // max(1, len(texts[number]))))
        groups[-1].append(number)
    return groups


def batches(widths: Sequence[int], batch_tokens: int, batch_size: int | None = None) -> list[range]:
    """Return which texts go together. widths: their tokens, descending.

    A batch has `batch_size` texts; without one, as many as stay within `batch_tokens`, padding included, or one.
    """
    groups: list[range] = []
    start = 0
    while start < len(widths):
        count = batch_size or max(1, batch_tokens // max(1, widths[start]))
        groups.append(range(start, min(start + count, len(widths))))
        start = groups[-1].stop
    return groups
