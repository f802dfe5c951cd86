"""Opening, making, upgrading and refusing databases; many processes on one."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from engine.errors import InvalidInput, NotFound, PlumblineError, Refused, RunFailed
from engine.spec.canonical import to_yaml
from engine.store import bookkeeping, experiments, schema
from engine.store.database import Store
from engine.store.inputs import inputs_of
from engine.store.migrations import HEAD, REVISIONS
from engine.store.migrations.upgrade import configuration
from engine.telemetry.states import Desired
from tests.store.conftest import Spawn, make_spec


def structure(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Everything that SQLite knows of tables and indexes, but for the order and spelling of their definitions."""
    found: set[tuple[str, ...]] = set()
    for (table,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if table == "alembic_version":
            continue
        found |= {("column", table, *map(str, row[1:])) for row in connection.execute(f"PRAGMA table_xinfo({table})")}
        found |= {("key", table, *map(str, row[2:])) for row in connection.execute(f"PRAGMA foreign_key_list({table})")}
        for _, index, unique, origin, _ in connection.execute(f"PRAGMA index_list({table})").fetchall():
            columns = [str(row[2]) for row in connection.execute(f"PRAGMA index_info({index})")]
            found.add(("index", table, index if origin == "c" else origin, str(unique), *columns))
        without_rowid = [row[4] for row in connection.execute(f"PRAGMA table_list({table})")]
        found.add(("rowid", table, str(without_rowid)))
    return found


def test_the_migrations_make_exactly_the_schema(store: Store, tmp_path: Path) -> None:
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
    expected = tmp_path / "expected.db"
    schema.metadata.create_all(create_engine(f"sqlite:///{expected}"))
    with sqlite3.connect(store.path) as made, sqlite3.connect(expected) as wanted:
        assert structure(made) == structure(wanted)


def test_the_known_versions_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory.from_config(configuration())
    assert scripts.get_heads() == [HEAD]
    assert tuple(script.revision for script in scripts.walk_revisions())[::-1] == REVISIONS


def test_a_database_of_the_first_version_is_brought_up_to_date_and_keeps_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "experiments.db"
    old = create_engine(f"sqlite:///{path}")
    with old.begin() as connection:
        config = configuration()
        config.attributes["connection"] = connection
        command.upgrade(config, REVISIONS[0])
        spec = to_yaml(make_spec())
        connection.exec_driver_sql(
            "INSERT INTO experiments (id, name, kind, spec, spec_hash, desired, state, created_at)"
            " VALUES ('sft-0001', 'old', 'sft', ?, 'h', 'run', 'queued', 1.0)",
            (spec,),
        )
    old.dispose()
    store = Store.open(path)
    assert experiments.spec_text(store, "sft-0001") == spec
    assert inputs_of(store, "sft-0001") == []
    store.close()


def test_a_database_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = Store.open(tmp_path / "experiments.db")
        experiments.create(store, make_spec())
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("experiments.db", "experiments.db-wal", "experiments.db-shm"), 0o600)
    assert store.runs_dir == tmp_path / "experiments.runs"
    store.close()


def test_many_processes_make_one_database_at_once(tmp_path: Path, spawn: Spawn) -> None:
    program = """
        import sys
        from pathlib import Path
        from engine.store.database import Store
        store = Store.open(Path(sys.argv[1]))
        with store.read() as connection:
            print(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())
    """
    processes = [spawn(program, tmp_path / "experiments.db") for _ in range(6)]
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out.strip()) == (0, HEAD), err


def test_a_killed_making_is_made_up_for(tmp_path: Path) -> None:
    (tmp_path / "experiments.db").touch()
    store = Store.open(tmp_path / "experiments.db")
    assert experiments.list_experiments(store) == []
    store.close()


def not_a_database(path: Path) -> None:
    path.write_bytes(b"plain text, and rather a lot of it. " * 100)


def of_another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE cookies (name)")


def newer(path: Path) -> None:
    Store.open(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def cut_short(path: Path) -> None:
    store = Store.open(path)
    experiments.create(store, make_spec(), hostfile="h", hostfile_text="x" * 200_000)
    store.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (not_a_database, InvalidInput, "is not a database"),
        (of_another_program, InvalidInput, "of another program"),
        (newer, Refused, "newer Plumbline"),
        (cut_short, RunFailed, "damaged"),
        (Path.mkdir, InvalidInput, "is not a file"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence_and_stays_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None], error: type[PlumblineError], says: str
) -> None:
    path = tmp_path / "experiments.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(error) as caught:
        experiments.list_experiments(Store.open(path))
    assert says in str(caught.value) and str(path) in str(caught.value)
    assert path.is_dir() or path.read_bytes() == before


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Store.open(tmp_path / "nowhere" / "experiments.db")


def test_a_database_that_was_removed_is_not_made_anew(store: Store) -> None:
    store.close()
    store.path.unlink()
    with pytest.raises(NotFound):
        experiments.list_experiments(store)
    assert not store.path.exists()


def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_there(store: Store, spawn: Spawn) -> None:
    identity = experiments.create(store, make_spec())
    program = """
        import resource, signal, sys
        from pathlib import Path
        from engine.errors import RunFailed
        from engine.store import events
        from engine.store.database import Store
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = Store.open(Path(sys.argv[1]))
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        try:
            for number in range(1000):
                events.add(store, sys.argv[2], 1, "e", "x" * 1000)
                print(number)
        except RunFailed as error:
            print(error, file=sys.stderr)
    """
    out, err = spawn(program, store.path, identity).communicate(timeout=60)
    assert "Traceback" not in err and str(store.path) in err and len(err.splitlines()) == 1
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == len(out.splitlines())


def test_the_version_changes_with_every_write_of_anybody_and_with_no_read(store: Store) -> None:
    seen = [store.data_version()]
    experiments.list_experiments(store)
    assert store.data_version() == seen[-1]
    identity = experiments.create(store, make_spec())
    seen.append(store.data_version())
    thread = threading.Thread(target=experiments.set_desired, args=(store, identity, Desired.STOP))
    thread.start()
    thread.join()
    seen.append(store.data_version())
    other = Store.open(store.path)
    bookkeeping.rename(other, identity, "other")
    other.close()
    seen.append(store.data_version())
    assert len(set(seen)) == 4
    experiments.set_desired(store, identity, Desired.STOP_NOW)
    quiet = store.data_version()
    experiments.set_desired(store, identity, Desired.STOP)  # changes nothing
    assert store.data_version() == quiet


def test_an_error_in_a_write_undoes_all_of_it(store: Store) -> None:
    identity = experiments.create(store, make_spec())
    with pytest.raises(ZeroDivisionError), store.write() as connection:
        connection.exec_driver_sql("UPDATE experiments SET name = 'changed'")
        raise ZeroDivisionError
    assert experiments.get(store, identity).name == identity


def test_opening_imports_neither_migrations_nor_orm_nor_specs(store: Store, spawn: Spawn) -> None:
    program = """
        import sys
        from pathlib import Path
        from engine.store import bookkeeping, experiments
        from engine.store.database import Store
        experiments.list_experiments(Store.open(Path(sys.argv[1])))
        print(*sorted({"alembic", "sqlalchemy.orm", "pydantic", "ruamel.yaml", "numpy"} & set(sys.modules)))
    """
    assert spawn(program, store.path).communicate(timeout=60)[0].strip() == ""


def test_readers_and_writers_of_many_processes_never_meet_a_lock(store: Store, spawn: Spawn) -> None:
    identity = experiments.create(store, make_spec())
    writer = """
        import sys
        from pathlib import Path
        from engine.store import bookkeeping, events, experiments
        from engine.store.database import Store
        for number in range(40):
            store = Store.open(Path(sys.argv[1]))
            for _ in range(5):
                events.add(store, sys.argv[2], 1, "e", "m")
            bookkeeping.set_note(store, sys.argv[2], str(number))
            store.close()
    """
    reader = """
        import sys, threading
        from pathlib import Path
        from engine.store import bookkeeping, events, experiments
        from engine.store.database import Store
        def read():
            for _ in range(100):
                experiments.list_experiments(store)
                events.list_events(store, sys.argv[2])
                store.data_version()
        store = Store.open(Path(sys.argv[1]))
        threads = [threading.Thread(target=read) for _ in range(3)]
        failed = []
        threading.excepthook = failed.append
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        sys.exit(str(failed) if failed else 0)
    """
    store.close()  # so that the log comes and goes with those that follow
    processes = [spawn(program, store.path, identity) for program in (writer, reader) * 4]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    with store.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM events").scalar() == 4 * 40 * 5
