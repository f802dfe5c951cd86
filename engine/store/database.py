"""One SQLite file, open for many threads beside many processes.

In WAL mode readers never wait for writers, nor writers for readers. Writers take turns: every write begins with
BEGIN IMMEDIATE, so that none fails halfway because another one was faster, and waits for its turn.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from engine.errors import InvalidInput, NotFound, PlumblineError, Refused, RunFailed
from engine.store.migrations import HEAD, REVISIONS

PATIENCE = 60.0  # seconds that a connection waits for its turn
_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})

Value = TypeVar("Value")


class Store:
    """An open database. All threads may use it at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._watch_lock = threading.Lock()
        self._watch: sqlite3.Connection | None = None
        self._engine = create_engine(
            "sqlite://", creator=lambda: _connect(path), poolclass=QueuePool, pool_size=4, max_overflow=-1
        )
        event.listen(self._engine, "begin", _begin)
        self._writing = {
            durable: self._engine.execution_options(writes=True, durable=durable) for durable in (True, False)
        }

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a database, and make it, for its owner alone, if there is none.

        Raises:
            NotFound: if its folder does not exist.
            InvalidInput: if the file is not a database, or one of another program.
            Refused: if a newer Plumbline made it.
            RunFailed: if it is damaged, or cannot be read or written.
        """
        path = path.absolute()
        _make_file(path)
        store = cls(path)
        try:
            with explained(path):
                store._bring_up_to_date()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def runs_dir(self) -> Path:
        """The folder of the copies of the runs' files, one folder an experiment."""
        return self.path.with_suffix(".runs")

    @property
    def objects_dir(self) -> Path:
        """The folder of what is sent to nodes by its content: the code of each launch, and the hashes of files."""
        return self.path.with_suffix(".objects")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees the database as it is at this moment, whatever others write meanwhile."""
        with explained(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A connection that alone writes; an error undoes everything.

        durable: survives a power cut as soon as it is done. What is not is whole after one all the same, but may have
        gone: right for facts, which can be read again.
        """
        with explained(self.path), self._writing[durable].begin() as connection:
            yield connection

    def data_version(self) -> int:
        """Return a number that changes with every write, by this process too. Cheap: no table is read."""
        with self._watch_lock, explained(self.path):
            if self._watch is None:
                self._watch = _connect(self.path)
            # SQLite tells a connection of the writes of all others; nothing is ever written by this one.
            watch = self._watch
            version: int = _patiently(lambda: watch.execute("PRAGMA data_version").fetchone())[0]
            return version

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._watch_lock:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
        self._engine.dispose()

    def _bring_up_to_date(self) -> None:
        with self.read() as connection:
            version = _version(connection, self.path)
        with contextlib.closing(_connect(self.path)) as plain:
            # Kept in the file, but for a backup; it cannot be changed inside a transaction.
            _patiently(lambda: plain.execute("PRAGMA journal_mode = WAL").fetchone())
        if version != HEAD:
            with self.write() as connection:
                # Another process may have been faster.
                if _version(connection, self.path) != HEAD:
                    from engine.store.migrations.upgrade import upgrade

                    upgrade(connection)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite says of a database that cannot be used into a sentence; faults of this program stay faults."""
    try:
        yield
    except (sqlite3.Error, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        problem = _problem(cause, path) if isinstance(cause, sqlite3.Error) else None
        if problem is None:
            raise
        raise problem from error


def _problem(error: sqlite3.Error, path: Path) -> PlumblineError | None:
    where = str(path)
    if isinstance(error, sqlite3.ProgrammingError) and "closed database" in str(error):
        return RunFailed("the database has been closed.", where=where)
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return InvalidInput("is not a database.", hint="Name another file with --db PATH.", where=where)
        case sqlite3.SQLITE_CORRUPT:
            return RunFailed("the database is damaged.", hint="Restore a backup.", where=where)
        case sqlite3.SQLITE_FULL:
            return RunFailed("the database cannot grow: the disk is full.", hint="Free some space.", where=where)
        case sqlite3.SQLITE_IOERR:
            return RunFailed(f"the database cannot be read or written: {error}.", where=where)
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return RunFailed("the database cannot be written.", hint="Look at its permissions.", where=where)
        case sqlite3.SQLITE_CANTOPEN:
            if not path.exists():
                return NotFound("the database is gone.", where=where)
            return RunFailed("the database cannot be opened.", hint="Look at its permissions.", where=where)
        case code if code in _BUSY:
            return RunFailed(f"another process has kept the database for {PATIENCE:g} seconds.", where=where)
    return None


def _make_file(path: Path) -> None:
    try:
        # SQLite gives its -wal and -shm files the permissions of the database.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise InvalidInput("is not a file.", hint="Name another one with --db PATH.", where=str(path)) from None
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound("the folder of the database does not exist.", where=str(path)) from None
    except OSError as error:
        raise RunFailed(f"the database cannot be made: {error.strerror}.", where=str(path)) from error


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a database that was removed is not made anew by the next connection.
    connection = sqlite3.connect(
        f"{path.as_uri()}?mode=rw", uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def _begin(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    plain = connection.connection.dbapi_connection
    assert isinstance(plain, sqlite3.Connection)
    if options.get("writes"):
        plain.execute(f"PRAGMA synchronous = {'FULL' if options['durable'] else 'NORMAL'}")
        _patiently(lambda: plain.execute("BEGIN IMMEDIATE"))
    else:
        _patiently(lambda: _snapshot(plain))


def _snapshot(plain: sqlite3.Connection) -> None:
    """Begin to read, and take what there is to read now: nothing after this can meet a lock."""
    plain.execute("BEGIN")
    try:
        plain.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()
    except sqlite3.Error:
        plain.execute("ROLLBACK")
        raise


def _patiently(action: Callable[[], Value]) -> Value:
    """Return what the action returns, once no lock is in its way.

    SQLite waits by itself in most cases, but not where a log is recovered, begun or removed.
    """
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in _BUSY or time.monotonic() > give_up:
                raise
            time.sleep(random.uniform(0.001, 0.02))


def _version(connection: Connection, path: Path) -> str | None:
    """Return the version of the schema; null for an empty database. Raises InvalidInput or Refused."""
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_schema WHERE type = 'table'").scalars())
    if not tables:
        return None
    if not {"alembic_version", "experiments"} <= tables:
        raise InvalidInput("is a database of another program.", hint="Name another file.", where=str(path))
    version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    if version not in REVISIONS:
        raise Refused(
            f"was made by a newer Plumbline (its schema is {str(version)[:40]!r}).",
            hint="Install that version.",
            where=str(path),
        )
    return str(version)
