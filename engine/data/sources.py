"""Rows of data files, streamed, each with its place: JSON, CSV, Parquet, `datasets` folders, and folders of these."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from engine.errors import InvalidInput

_log = logging.getLogger(__name__)

# How many broken rows a message names.
_NAMED = 3
_SPLIT_NAME = re.compile(r"(train|test|validation|valid|val|dev|eval)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its values by column, and its place, `FILE:LINE`; a row that has no line counts from 1 instead."""

    values: dict[str, Any]
    place: str


class Broken(Protocol):
    """What is told of rows that cannot be read."""

    def add(self, place: str, problem: str) -> None:
        """The row at `place` is broken; `problem` completes the sentence `the row …`."""


@dataclass(slots=True)
class BrokenRows:
    """What is done about rows that cannot be used: every one is remembered or counted, then reported at once."""

    policy: Literal["error", "skip"]
    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, place: str, problem: str) -> None:
        """Remember that the row at `place` is broken; `problem` completes the sentence `the row …`."""
        self.count += 1
        if len(self.first) < _NAMED:
            self.first.append((place, problem))

    def report(self, usable: int) -> None:
        """Say what was broken, when all rows have been read and `usable` of them were not.

        Raises:
            InvalidInput: if there were broken rows, unless the policy is to skip them and some others are left.
        """
        if not self.count:
            return
        place, problem = self.first[0]
        if self.policy == "skip" and usable:
            _log.warning("warning: %d broken rows were skipped; the first: %s: the row %s.", self.count, place, problem)
            return
        others = "; ".join(f"{place}: it {problem}" for place, problem in self.first[1:])
        more = f" {self.count} rows are broken, among them {others}." if others else ""
        hint = "Mend them, or leave them out with data.on_broken_row=skip." if usable else "No row can be used."
        raise InvalidInput(f"the row {problem}.{more}", hint=hint, where=place)


def read_rows(path: Path, broken: Broken) -> Iterator[Row]:
    """Yield the rows of a file or folder in order; those that cannot be read go to `broken`.

    Raises:
        InvalidInput: if there is no such file, or it is of no known kind, or damaged as a whole.
    """
    for file in _files(path):
        yield from _READERS[_suffix(file)](file, broken)


def count_rows(path: Path) -> int:
    """Return how many rows a file or folder has.

    Raises:
        InvalidInput: if a row is broken, or there is none.
    """
    broken = BrokenRows("error")
    count = sum(1 for _ in read_rows(path, broken))
    broken.report(count)
    if not count:
        raise InvalidInput("there are no rows.", where=str(path))
    return count


def _suffix(file: Path) -> str:
    """The suffix that says how a file is read; a folder of the `datasets` library has none."""
    return "".join(file.suffixes[-2:] if file.suffix.lower() == ".gz" else file.suffixes[-1:]).lower()


def _files(path: Path) -> Sequence[Path]:
    """Return the files that hold the rows of a path, in a stable order."""
    if not path.exists():
        raise InvalidInput("there is no such file or folder.", where=str(path))
    if path.is_file():
        if _suffix(path) not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise InvalidInput(f"data files end in one of {known}.", where=str(path))
        return [path]
    if (path / "dataset_dict.json").is_file():
        return _files(_only_split(path))
    if (path / "state.json").is_file():
        return _arrow_files(path)
    files = [
        file
        for file in sorted(path.rglob("*"))
        if file.is_file() and _suffix(file) in _READERS and not file.name.startswith(".")
    ]
    if not files:
        raise InvalidInput("there is no data file in the folder.", where=str(path))
    splits = {found[1] for file in files if (found := _SPLIT_NAME.match(file.name))}
    if len(splits) > 1:
        names = ", ".join(sorted(splits))
        raise InvalidInput(f"the folder holds several splits: {names}.", hint="Name one file.", where=str(path))
    return files


def _only_split(folder: Path) -> Path:
    splits = _json_document(folder / "dataset_dict.json").get("splits", [])
    if len(splits) != 1:
        names = ", ".join(str(folder / split) for split in splits)
        raise InvalidInput("the folder holds several splits.", hint=f"Name one of {names}.", where=str(folder))
    return folder / str(splits[0])


def _arrow_files(folder: Path) -> Sequence[Path]:
    """Return the files of a `Dataset.save_to_disk` folder. The library itself takes seconds to import; pyarrow does."""
    listed = _json_document(folder / "state.json").get("_data_files", [])
    return [folder / str(entry["filename"]) for entry in listed]


def _json_document(file: Path) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"is damaged: {error}.", where=str(file)) from error
    if not isinstance(document, dict):
        raise InvalidInput("is not what `datasets` writes.", where=str(file))
    return document


def _jsonl(file: Path, broken: Broken) -> Iterator[Row]:
    opener: Callable[[Path, str], IO[bytes]] = gzip.open if _suffix(file).endswith(".gz") else Path.open  # type: ignore[assignment]
    try:
        with opener(file, "rb") as lines:
            yield from json_lines(file, lines, broken)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InvalidInput(f"is damaged: {error}.", where=str(file)) from error


def json_lines(file: Path, lines: Iterable[bytes], broken: Broken) -> Iterator[Row]:
    """Yield the rows of the lines of a JSONL file; blank lines count, and are no rows."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{file}:{number}"
        try:
            values = json.loads(line.decode("utf-8-sig"))
        except json.JSONDecodeError as error:
            broken.add(place, f"is not JSON: {error.msg} at column {error.colno}")
        except UnicodeDecodeError as error:
            broken.add(place, f"is not UTF-8: {error.reason} at byte {error.start + 1}")
        except RecursionError:
            broken.add(place, "is nested too deeply")
        except ValueError as error:  # an integer of thousands of digits
            broken.add(place, f"is not JSON that can be read: {error}")
        else:
            if isinstance(values, dict):
                yield Row(values, place)
            else:
                broken.add(place, "is not a JSON object")


def _json(file: Path, broken: Broken) -> Iterator[Row]:
    """Read a list of objects; other files of this name hold one object a line."""
    with file.open("rb") as content:
        begins_as_list = content.read(256).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
    if not begins_as_list:
        yield from _jsonl(file, broken)
        return
    try:
        entries = json.loads(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise InvalidInput(f"is not JSON: {error.msg}.", where=f"{file}:{error.lineno}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"is not UTF-8: {error.reason} at byte {error.start + 1}.", where=str(file)) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"is not JSON that can be read: {error}.", where=str(file)) from error
    for number, values in enumerate(entries, 1):
        if isinstance(values, dict):
            yield Row(values, f"{file}:{number}")
        else:
            broken.add(f"{file}:{number}", "is not a JSON object")


def _csv(file: Path, broken: Broken) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the default refuses cells of 128 KiB
    with file.open(encoding="utf-8-sig", newline="") as content:
        cells = csv.reader(content, delimiter="\t" if _suffix(file) == ".tsv" else ",", strict=True)
        line = 1
        try:
            header = next(cells, [])
            if len(set(header)) < len(header):
                raise InvalidInput("has two columns of the same name.", where=f"{file}:1")
            line = cells.line_num + 1
            for row in cells:
                place, line = f"{file}:{line}", cells.line_num + 1
                if len(row) == len(header):
                    yield Row(dict(zip(header, row, strict=True)), place)
                elif row:
                    broken.add(place, f"has {len(row)} cells instead of {len(header)}")
        except csv.Error as error:
            raise InvalidInput(f"is not CSV: {error}.", where=f"{file}:{line}") from error
        except UnicodeDecodeError as error:
            raise InvalidInput(f"is not UTF-8: {error.reason}.", where=f"{file}:{line}") from error


def _parquet(file: Path, broken: Broken) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            yield from _batches(file, table.iter_batches(batch_size=1024))
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"is not Parquet, or damaged: {error}.", where=str(file)) from error


def _arrow(file: Path, broken: Broken) -> Iterator[Row]:
    import pyarrow

    try:
        with pyarrow.memory_map(str(file)) as content, pyarrow.ipc.open_stream(content) as batches:
            yield from _batches(file, map(_validated, batches))
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"is not an Arrow stream, or damaged: {error}.", where=str(file)) from error


def _validated(batch: Any) -> Any:
    """Return a batch whose offsets and texts are what they say: damaged ones lead out of the file."""
    batch.validate(full=True)
    return batch


def _batches(file: Path, batches: Any) -> Iterator[Row]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield Row(values, f"{file}:{number}")


_READERS: dict[str, Callable[[Path, Broken], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".jsonl.gz": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
