"""The database that a launch looks things up in and writes to, opened when it is first needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from engine.errors import NotFound

if TYPE_CHECKING:
    from types import TracebackType

    from engine.store.database import Store


def _in_silence(sentence: str) -> None:
    """Tell nobody."""


class Records:
    """One database, for one thread. There may be none yet: then nothing has been launched."""

    def __init__(self, path: Path, tell: Callable[[str], None] = _in_silence) -> None:
        """tell: is given sentences for people on what was looked up."""
        self.path, self.tell = path, tell
        self._store: Store | None = None

    @property
    def exists(self) -> bool:
        """Whether there is a database."""
        return self._store is not None or self.path.exists()

    def store(self, *, create: bool = False) -> Store:
        """Return it, open. Raises NotFound where there is none and `create` is not set."""
        from engine.store.database import Store

        if self._store is None:
            if not create and not self.path.exists():
                hint = "Launch something first, or name one with --db PATH."
                raise NotFound("there is no database here.", hint=hint, where=str(self.path))
            self._store = Store.open(self.path)
        return self._store

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
