"""How long a thread may compute before another one has its turn; only one of a program's threads computes at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SHORT, _LONG = 0.001, 0.05  # seconds


def give_way() -> None:
    """Let the threads that read give way at once to the one that has the screen."""
    sys.setswitchinterval(_SHORT)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no other thread have a turn in the middle of this, if it is short."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_LONG)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
