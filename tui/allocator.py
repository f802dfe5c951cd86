"""How the C library hands out memory to the threads of this program."""

from __future__ import annotations

import contextlib
import ctypes

_ARENA_MAX = -8  # M_ARENA_MAX of glibc's malloc.h


def share_memory() -> None:
    """Let all threads take memory from one place, where the C library is glibc. Call it before there are threads.

    By default each thread keeps what it once had for itself: arrays that one thread of a pool reads and another one
    replaces would be held several times. Python's threads allocate by turns anyway.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)
