"""A board that all ranks read and write at any time: counters and notes, without waiting for each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from torch.distributed import distributed_c10d

_LOOK_SECONDS = 0.2
_TURN, _HERE = "turn", "here"


class Board:
    """Counters and notes of one job, in the store through which its ranks met.

    Unlike collective operations it lets ranks take work as they come, and wait for each other as long as it takes.
    """

    def __init__(self, name: str) -> None:
        self._store, self._name = distributed_c10d._get_default_store(), name

    def add(self, counter: str, amount: int = 1) -> int:
        """Add to a counter, which starts at 0, and return what it is then."""
        return int(self._store.add(self._key(counter), amount))

    def read(self, counter: str) -> int:
        """Return what a counter is."""
        return self.add(counter, 0)

    def post(self, note: str, text: str = "") -> None:
        """Write a note."""
        self._store.set(self._key(note), text)

    def await_note(self, note: str, look: Callable[[], None] = lambda: None) -> str:
        """Wait for a note and return it. look: called now and then meanwhile; what it raises ends the waiting."""
        while not self._store.check([self._key(note)]):
            look()
            self.pause()
        return bytes(self._store.get(self._key(note))).decode()

    def turns(self, count: int) -> Iterator[int]:
        """Yield numbers from 0 to `count` as this rank takes them: each comes to one rank, the next to who is free."""
        while (taken := self.add(_TURN)) <= count:
            yield taken - 1

    def await_all(self, world_size: int, look: Callable[[], None]) -> None:
        """Wait until all ranks have come here. look: called now and then meanwhile, and once when all have."""
        self.add(_HERE)
        while self.read(_HERE) < world_size:
            look()
            self.pause()
        look()

    def pause(self) -> None:
        """Let a moment pass, for who waits for something on the board."""
        time.sleep(_LOOK_SECONDS)

    def _key(self, name: str) -> str:
        return f"{self._name}/{name}"
