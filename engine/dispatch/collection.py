"""From the copies of runs' fact files into the database, each row once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.dispatch.mirror import Mirror
from engine.errors import NotFound
from engine.store import facts
from engine.store.database import Store
from engine.store.facts import Piece
from engine.telemetry.reader import read_chunk
from engine.telemetry.records import FACT_FILES

_MOST_ROUNDS = 16  # of pieces, before all else gets its turn


class Collection:
    """The way of one experiment's facts into the database. The cursor stands in the database, beside the rows."""

    def __init__(self, store: Store, experiment: str, mirror: Mirror, complain: Callable[[str], None]) -> None:
        self._store, self._experiment, self._mirror, self._complain = store, experiment, mirror, complain
        self._seen: dict[str, int] = {}  # size of each file up to which every complete line is in
        self._cursors: dict[str, int] = {}  # as they stood when they were last looked at

    def pieces(self) -> list[Piece]:
        """Return the next piece of every file that has complete lines which are not in."""
        return [piece for name in FACT_FILES if (piece := self._piece(name)) is not None]

    def _piece(self, name: str) -> Piece | None:
        path = self._mirror.folder / name
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return None
        if self._seen.get(name) == size:
            return None
        if name not in self._cursors:
            try:
                self._cursors[name] = facts.cursor(self._store, self._experiment, name)
            except NotFound:
                return None  # it was deleted
        cursor = self._cursors[name]
        chunk = read_chunk(path, cursor)
        if chunk.offset == cursor and not chunk.records and not chunk.truncated:
            self._seen[name] = size
            return None
        for problem in chunk.problems:
            self._complain(f"{self._experiment}: {name}: {problem}")
        return Piece(self._experiment, name, chunk, cursor)

    def took(self, piece: Piece, *, is_in: bool) -> None:
        """Note that a piece is in the database, or that the cursor there stood elsewhere."""
        if is_in:
            self._cursors[piece.file] = piece.chunk.offset
        else:
            self._cursors.pop(piece.file, None)

    @property
    def complete(self) -> bool:
        """Whether nothing has been added to the files since all that there was is in."""
        for name in FACT_FILES:
            path = self._mirror.folder / name
            if path.exists() and path.stat().st_size != self._seen.get(name):
                return False
        return True


def collect(store: Store, collections: Sequence[Collection]) -> bool:
    """Bring in the complete lines that are there, of all runs at once: a transaction a run would cost too much.

    Returns:
        Whether all are in; else there are more.

    Raises:
        PlumblineError: if they cannot be written; nothing is lost.
    """
    for _ in range(_MOST_ROUNDS):
        found = [(each, piece) for each in collections for piece in each.pieces()]
        if not found:
            return True
        outcomes = facts.ingest_all(store, [piece for _, piece in found])
        for (each, piece), is_in in zip(found, outcomes, strict=True):
            each.took(piece, is_in=is_in)
    return False
