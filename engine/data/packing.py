"""Several examples in one row, so that few pads are computed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.examples import Example


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Examples one after another; `position_ids` start again at 0 with each, and attention stops there."""

    input_ids: Sequence[int]
    loss_mask: Sequence[bool]
    position_ids: Sequence[int]


def pack(examples: Sequence[Example], max_length: int) -> list[PackedRow]:
    """Return all examples in rows of at most `max_length` tokens.

    Best fit decreasing: the longest first, each into the row that it fills most. It needs at most 11/9 of the rows of
    a best packing (Johnson 1974), and takes n log n steps. The order of the examples is kept within a row, and the rows
    follow the first example of each.

    Raises:
        ValueError: if an example is longer than `max_length`.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for index in sorted(range(len(examples)), key=lambda index: -len(examples[index].input_ids)):
        length = len(examples[index].input_ids)
        if length > max_length:
            raise ValueError(f"an example of {length} tokens does not fit into a row of {max_length}")
        fitting = bisect_left(rooms, (length, 0))
        if fitting == len(rooms):
            room, row = max_length, len(rows)
            rows.append([])
        else:
            room, row = rooms.pop(fitting)
        rows[row].append(index)
        if room > length:
            insort(rooms, (room - length, row))
    return [_joined([examples[index] for index in sorted(row)]) for row in sorted(rows, key=min)]


def _joined(examples: Sequence[Example]) -> PackedRow:
    return PackedRow(
        [token for example in examples for token in example.input_ids],
        [carries for example in examples for carries in example.loss_mask],
        [position for example in examples for position in range(len(example.input_ids))],
    )
