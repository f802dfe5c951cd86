"""Check, backup and query."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from engine.errors import InvalidInput, NotFound
from engine.store import bookkeeping, experiments, maintenance
from engine.store.database import Store
from tests.store.conftest import make_spec


def test_a_whole_database_has_no_problems_and_a_lost_row_or_file_is_named(store: Store) -> None:
    identity = experiments.create(store, make_spec())
    assert maintenance.check(store) == []
    with sqlite3.connect(store.path) as plain:
        plain.execute("INSERT INTO tags VALUES ('sft-9999', 'orphan')")
        plain.execute("INSERT INTO cursors VALUES (?, 'metrics.jsonl', 100)", (identity,))
    copy = store.runs_dir / identity / "metrics.jsonl"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"short")
    row, file = maintenance.check(store)
    assert "of tags names a row of experiments" in row and "has 5 bytes, and 100 were read" in file


def test_a_damaged_page_is_a_problem(store: Store) -> None:
    for number in range(50):
        experiments.create(store, make_spec(), name=f"run-{number}")
    store.close()
    data = bytearray(store.path.read_bytes())
    at = data.rfind(b"run-17")
    data[at : at + 6] = b"run-99"
    store.path.write_bytes(data)
    assert any("experiments_by_name" in problem for problem in maintenance.check(store))


def test_a_backup_is_one_whole_file_and_takes_no_other_s_place(store: Store, tmp_path: Path) -> None:
    identity = experiments.create(store, make_spec(), name="kept")
    to = tmp_path / "copies" / "experiments.db"
    with pytest.raises(InvalidInput, match="folder"):
        maintenance.backup(store, to)
    to.parent.mkdir()
    maintenance.backup(store, to)
    assert [file.name for file in to.parent.iterdir()] == [to.name] and to.stat().st_mode & 0o777 == 0o600
    with pytest.raises(InvalidInput, match="exists already"):
        maintenance.backup(store, to)
    bookkeeping.rename(store, identity, "changed later")
    restored = Store.open(to)
    assert experiments.get(restored, identity).name == "kept" and maintenance.check(restored) == []
    bookkeeping.rename(restored, identity, "and written again")
    restored.close()


def test_a_query_returns_columns_and_rows(store: Store) -> None:
    experiments.create(store, make_spec(), name="one")
    assert maintenance.query(store.path, "SELECT id, name FROM experiments") == (["id", "name"], [("sft-0001", "one")])
    assert maintenance.query(store.path, "SELECT 9e999, x'00ff', NULL")[1] == [("inf", "00ff", None)]
    with_clause = "WITH t(n) AS (VALUES (1), (2)) SELECT sum(n) AS total FROM t;"
    assert maintenance.query(store.path, with_clause) == (["total"], [(3,)])
    store.close()
    assert maintenance.query(store.path, "SELECT count(*) FROM experiments")[1] == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM experiments",
        "DROP TABLE experiments",
        "INSERT INTO tags VALUES ('sft-0001', 'x') RETURNING tag",
        "PRAGMA query_only = OFF",
        "ATTACH 'other.db' AS other",
        "VACUUM INTO 'other.db'",
        "BEGIN",
        "SELECT load_extension('x')",
        "SELECT 1; DELETE FROM experiments",
        "SELECT nothing FROM experiments",
        "SELEC 1",
        "",
        "-- nothing",
        "SELECT '\udcff'",
        "SELECT '\0'",
    ],
)
def test_whatever_is_not_one_select_is_one_sentence_and_changes_nothing(
    store: Store, tmp_path: Path, sql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiments.create(store, make_spec())
    with pytest.raises(InvalidInput) as caught:
        maintenance.query(store.path, sql)
    assert "\n" not in str(caught.value)
    assert len(experiments.list_experiments(store)) == 1 and not (tmp_path / "other.db").exists()


def test_a_query_names_the_tables_there_are(store: Store) -> None:
    with pytest.raises(InvalidInput, match="experiments"):
        maintenance.query(store.path, "SELECT * FROM experiment")


def test_a_query_of_nothing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        maintenance.query(tmp_path / "none.db", "SELECT 1")
