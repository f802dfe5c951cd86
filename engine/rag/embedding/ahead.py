"""Work that is done by a thread a little ahead of who needs it."""

from __future__ import annotations

import threading
from collections.abc import Generator
from queue import SimpleQueue
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """No item follows: there is none, or the next one could not be made."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Generator[Item, None, None], depth: int, name: str) -> Generator[Item, None, None]:
    """Yield items in their order; a thread makes them, up to `depth` more than were taken. What it raises comes here.

    When who takes them leaves off, the thread ends with the item that it is at, and closes `items`.

    Args:
        items: used by the thread alone.
        depth: 0: there is no thread.
        name: of the thread.
    """
    if depth == 0:
        yield from items
        return
    made: SimpleQueue[Item | _End] = SimpleQueue()
    room, left = threading.Semaphore(depth), threading.Event()

    def make() -> None:
        error: BaseException | None = None
        try:
            while room.acquire() and not left.is_set():
                try:
                    made.put(next(items))
                except StopIteration:
                    break
            items.close()
        except BaseException as raised:  # for who takes them
            error = raised
        made.put(_End(error))

    thread = threading.Thread(target=make, name=name, daemon=True)
    thread.start()
    try:
        while not isinstance(item := made.get(), _End):
            room.release()
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        room.release()
        thread.join()
