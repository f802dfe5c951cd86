"""Every kind of file gives the same rows, and what is broken is named by its line."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from pathlib import Path

import pytest

from engine.data.sources import BrokenRows, count_rows, read_rows
from engine.errors import InvalidInput
from tests.data.conftest import WriteRows

ROWS = [
    {"prompt": "Where was Ono born?", "response": "In Zelt."},
    {"prompt": 'Two\nlines, a "quote" and a comma', "response": "naïve – 東京"},
    {"prompt": " spaces ", "response": "\ttab"},
]


def read(path: Path) -> list[dict[str, object]]:
    broken = BrokenRows("error")
    rows = [row.values for row in read_rows(path, broken)]
    broken.report(len(rows))
    return rows


def as_jsonl(folder: Path) -> Path:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n\n" for row in ROWS), encoding="utf-8-sig")
    return file


def as_jsonl_gz(folder: Path) -> Path:
    file = folder / "rows.jsonl.gz"
    file.write_bytes(gzip.compress(as_jsonl(folder).read_bytes()))
    return file


def as_json(folder: Path) -> Path:
    file = folder / "rows.json"
    file.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")
    return file


def as_csv(folder: Path) -> Path:
    file = folder / "rows.csv"
    with file.open("w", encoding="utf-8", newline="") as cells:
        writer = csv.DictWriter(cells, list(ROWS[0]))
        writer.writeheader()
        writer.writerows(ROWS)
    return file


def as_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    file = folder / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), file)
    return file


def as_datasets_folder(folder: Path) -> Path:
    import datasets

    datasets.Dataset.from_list(ROWS).save_to_disk(folder / "saved", num_shards=2)
    return folder / "saved"


def as_datasets_dict(folder: Path) -> Path:
    import datasets

    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(folder / "dict")
    return folder / "dict"


def as_folder_of_files(folder: Path) -> Path:
    parts = folder / "parts"
    parts.mkdir()
    for number, row in enumerate(ROWS):
        (parts / f"train-{number}.jsonl").write_text(json.dumps(row))
    (parts / "README.md").write_text("no data")
    return parts


@pytest.mark.parametrize(
    "form",
    [
        as_jsonl,
        as_jsonl_gz,
        as_json,
        as_csv,
        as_parquet,
        as_datasets_folder,
        as_datasets_dict,
        as_folder_of_files,
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, form: object) -> None:
    assert callable(form)
    path = form(tmp_path)
    assert read(path) == ROWS
    assert count_rows(path) == len(ROWS)


def test_broken_rows_are_named_by_their_lines_and_counted(write_rows: WriteRows) -> None:
    file = write_rows([ROWS[0], "{not json", "", "[1]", '"text"', '{"a": 1', ROWS[1]])
    with pytest.raises(InvalidInput) as caught:
        count_rows(file)
    assert caught.value.where == f"{file}:2"
    assert "4 rows" in str(caught.value) and f"{file}:4" in str(caught.value) and f"{file}:5" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_skipped_rows_are_counted_aloud_but_never_all_of_them(
    write_rows: WriteRows, caplog: pytest.LogCaptureFixture
) -> None:
    broken = BrokenRows("skip")
    file = write_rows([ROWS[0], "{", ROWS[1], "}"])
    assert [row.place for row in read_rows(file, broken)] == [f"{file}:1", f"{file}:3"]
    broken.report(2)
    assert f"2 broken rows were skipped; the first: {file}:2" in caplog.text
    with pytest.raises(InvalidInput):
        broken.report(0)


def test_a_csv_row_with_a_wrong_number_of_cells_is_named_by_its_first_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('prompt,response\n"two\nlines",yes\n"only\none"\na,b\n')
    with pytest.raises(InvalidInput) as caught:
        count_rows(file)
    assert caught.value.where == f"{file}:4"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", b'prompt\n"never closed'),
        ("rows.csv", b"prompt\n\xff\xfe\n"),
        ("rows.csv", b"a,a\n1,2\n"),
        ("rows.parquet", b"PAR1 is not enough"),
        ("rows.arrow", b"nor is this"),
        ("rows.json", b"[{"),
        ("rows.jsonl.gz", b"not gzip"),
        ("rows.jsonl", b"\xff\xfe\n"),
        ("rows.jsonl", b"\n"),
        ("rows.bin", b"?"),
    ],
)
def test_a_damaged_file_is_one_sentence_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        count_rows(file)
    assert str(file) in str(caught.value)


def test_a_folder_with_several_splits_is_refused_rather_than_mixed(tmp_path: Path) -> None:
    import datasets

    rows = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "dict")
    with pytest.raises(InvalidInput, match="several splits"):
        count_rows(tmp_path / "dict")
    assert count_rows(tmp_path / "dict" / "test") == len(ROWS)
    for split in ("train", "validation"):
        shutil.copy(as_parquet(tmp_path), tmp_path / f"{split}-00000.parquet")
    (tmp_path / "rows.parquet").unlink()
    shutil.rmtree(tmp_path / "dict")
    with pytest.raises(InvalidInput, match="several splits: train, validation"):
        count_rows(tmp_path)
