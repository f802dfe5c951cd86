"""Care of the database itself: check it, copy it, ask it."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from engine.errors import InvalidInput, RunFailed
from engine.store import schema
from engine.store.database import explained

if TYPE_CHECKING:
    from engine.store.database import Store

_MOST_PROBLEMS = 100
# What a query may do: look at tables and use functions. No ATTACH, no PRAGMA, no writing.
_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})


def check(store: Store) -> list[str]:
    """Return what is wrong with the database, one sentence each without a full stop; nothing if it is whole."""
    with store.read() as connection:
        told = connection.exec_driver_sql(f"PRAGMA integrity_check({_MOST_PROBLEMS})").scalars().all()
        problems = [str(line) for line in told if line != "ok"]
        for table, row, target, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
            problems.append(f"row {row} of {table} names a row of {target} that is not there")
        columns = schema.cursors.c
        for identity, file, offset in connection.execute(select(columns.experiment_id, columns.file, columns.offset)):
            copy = store.runs_dir / identity / file
            if copy.is_file() and copy.stat().st_size < offset:
                problems.append(f"{copy} has {copy.stat().st_size} bytes, and {offset} were read from it")
    return problems[:_MOST_PROBLEMS]


def backup(store: Store, to: Path) -> None:
    """Copy the database, as it is at this moment, to a new file for its owner alone. Runs may go on meanwhile.

    Raises:
        InvalidInput: if the file exists, or its folder does not.
        RunFailed: if it cannot be written; nothing is left then.
    """
    if to.exists():
        raise InvalidInput("exists already.", hint="Name another file.", where=str(to))
    if not to.parent.is_dir():
        raise InvalidInput("its folder does not exist.", where=str(to))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{to.name}-", dir=to.parent)
        os.close(descriptor)
        copy = Path(name)
        try:
            _copy(store, copy)
            _sync(copy)
            # Unlike a rename, a link never takes the place of a file that came into being meanwhile.
            to.hardlink_to(copy)
        finally:
            copy.unlink()
        _sync(to.parent)
    except FileExistsError:
        raise InvalidInput("exists already.", hint="Name another file.", where=str(to)) from None
    except OSError as error:
        raise RunFailed(f"the copy cannot be written: {error.strerror}.", where=str(to)) from error


def query(path: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the column names and the rows of one SELECT. Nothing can be written by it.

    Numbers that are not finite, and bytes, come as text.

    Raises:
        InvalidInput: if it is not one valid SELECT.
    """
    with explained(path), contextlib.closing(_reader(path)) as connection:
        try:
            cursor = connection.execute(sql)
            rows = [tuple(_plain(value) for value in row) for row in cursor]
        except (sqlite3.ProgrammingError, sqlite3.Warning) as error:
            raise InvalidInput(f"the query is not one statement: {error}") from None
        except (sqlite3.DatabaseError, UnicodeEncodeError, OverflowError) as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_AUTH:
                raise InvalidInput("a query only reads: it is one SELECT.") from None
            if code in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH):
                raise InvalidInput(f"the query cannot be run: {error}.", hint=_tables(path)) from None
            raise
        if cursor.description is None:
            raise InvalidInput("the query is empty.")
        return [column[0] for column in cursor.description], rows


def _reader(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=60.0)
    connection.execute("PRAGMA query_only = ON")
    connection.execute("SELECT 1 FROM sqlite_schema").fetchone()
    connection.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
    return connection


def _tables(path: Path) -> str:
    with contextlib.closing(_reader(path)) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
    return f"The tables are {', '.join(name for (name,) in names)}."


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _copy(store: Store, to: Path) -> None:
    with (
        explained(to),
        store.read() as connection,
        contextlib.closing(sqlite3.connect(to, isolation_level=None)) as copy,
    ):
        plain = connection.connection.dbapi_connection
        assert isinstance(plain, sqlite3.Connection)
        plain.backup(copy)
        # A copy is one file, without a log beside it.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
