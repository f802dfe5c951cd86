"""A table from 64-bit keys to rows, with several rows a key: 12 bytes a slot, for tables of a hundred million."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

_FIRST_SLOTS = 1 << 10
_FULL = 0.6  # from this share of slots on, the table doubles


class Buckets:
    """Open addressing with linear probing. Keys are to be evenly spread: hashes.

    Loops over arrays of Python's: for the few keys of a call, they take a tenth of NumPy's time.

    Arguments:
        most: rows that a key keeps; the first ones. It bounds what keys that all texts have can cost.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._keys = array("Q", bytes(8 * _FIRST_SLOTS))  # 0: the slot is empty
        self._rows = array("i", bytes(4 * _FIRST_SLOTS))
        self._used = 0

    def find(self, keys: Iterable[int]) -> list[int]:
        """Return the rows that were added with the keys, as often as they were; keys from 0 to 2^64 - 1."""
        table, rows, last = self._keys, self._rows, len(self._keys) - 1
        found = []
        for key in keys:
            wanted = key or 1
            slot = wanted & last
            while there := table[slot]:
                if there == wanted:
                    found.append(rows[slot])
                slot = (slot + 1) & last
        return found

    def add(self, keys: Iterable[int], row: int) -> None:
        """Add a row, from 0 to 2^31 - 1, with each of the keys."""
        for key in keys:
            if self._used >= _FULL * len(self._keys):
                self._double()
            wanted = key or 1
            last = len(self._keys) - 1
            slot = wanted & last
            room = self._most
            while there := self._keys[slot]:
                room -= there == wanted
                slot = (slot + 1) & last
            if room > 0:
                self._keys[slot] = wanted
                self._rows[slot] = row
                self._used += 1

    def _double(self) -> None:
        old_keys, old_rows = np.frombuffer(self._keys, np.uint64), np.frombuffer(self._rows, np.int32)
        taken = old_keys != 0
        keys, rows = old_keys[taken], old_rows[taken]
        size = 2 * len(self._keys)
        self._keys, self._rows = array("Q", bytes(8 * size)), array("i", bytes(4 * size))
        new_keys, new_rows = np.frombuffer(self._keys, np.uint64), np.frombuffer(self._rows, np.int32)
        slots = (keys & np.uint64(size - 1)).astype(np.int64)
        while len(keys):
            free = np.flatnonzero(new_keys[slots] == 0)
            _, firsts = np.unique(slots[free], return_index=True)  # of several that want a slot, the first has it
            placed = free[firsts]
            new_keys[slots[placed]] = keys[placed]
            new_rows[slots[placed]] = rows[placed]
            left = np.ones(len(keys), np.bool_)
            left[placed] = False
            keys, rows, slots = keys[left], rows[left], (slots[left] + 1) & (size - 1)
