"""Several sequences in one row, so that few pads are computed."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

from engine.data.examples import Example

# Of about so many widths of rows the narrowest is taken that needs at most so many times the fewest tokens.
_WIDTHS = 16
ABOUT = 1.03


@dataclass(frozen=True, slots=True)
class PackedRow:
    """Examples one after another; `position_ids` start again at 0 with each, and attention stops there."""

    input_ids: Sequence[int]
    loss_mask: Sequence[bool]
    position_ids: Sequence[int]


def pack(examples: Sequence[Example], max_length: int) -> list[PackedRow]:
    """Return all examples in rows of at most `max_length` tokens, as `fill` puts them there.

    Raises:
        ValueError: if an example is longer than `max_length`.
    """
    rows = fill([len(example.input_ids) for example in examples], max_length)
    return [_joined([examples[index] for index in row]) for row in rows]


def fill_narrowly(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Return rows as `fill` does, of a width up to `max_length` with which they take few tokens.

    The tokens of rows are those of one forward pass, pads included: their number times the longest of them. They are
    never more than with one sequence in each row. Attention takes longer in wider rows, so of some widths that are
    tried, the narrowest is taken that is about as good as the best.

    Raises:
        ValueError: if a sequence is longer than `max_length`.
    """
    narrowest = min(max(lengths, default=0), max_length)
    step = 1 + (max_length - narrowest) // _WIDTHS
    fillings = [fill(lengths, width) for width in range(narrowest, max_length + 1, step)]
    tokens = [len(rows) * max((sum(lengths[i] for i in row) for row in rows), default=0) for rows in fillings]
    enough = ABOUT * min(tokens)
    return next(rows for rows, taken in zip(fillings, tokens, strict=True) if taken <= enough)


def fill(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Return for each row of at most `max_length` tokens which sequences it holds, of these lengths, by their index.

    Best fit decreasing: the longest first, each into the row that it fills most. It needs at most 11/9 of the rows of
    a best packing (Johnson 1974), and takes n log n steps. The order of the sequences is kept within a row, and the
    rows follow the first sequence of each.

    Raises:
        ValueError: if a sequence is longer than `max_length`.
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (free tokens, row), sorted
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[index]
        if length > max_length:
            raise ValueError(f"a sequence of {length} tokens does not fit into a row of {max_length}")
        fitting = bisect_left(rooms, (length, 0))
        if fitting == len(rooms):
            room, row = max_length, len(rows)
            rows.append([])
        else:
            room, row = rooms.pop(fitting)
        rows[row].append(index)
        if room > length:
            insort(rooms, (room - length, row))
    return [sorted(row) for row in sorted(rows, key=min)]


def _joined(examples: Sequence[Example]) -> PackedRow:
    return PackedRow(
        [token for example in examples for token in example.input_ids],
        [carries for example in examples for carries in example.loss_mask],
        [position for example in examples for position in range(len(example.input_ids))],
    )
