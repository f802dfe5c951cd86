"""Documents from rows: JSONL, JSON, CSV, Parquet and Arrow files."""

from __future__ import annotations

import gzip
import io
import math
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from engine.data.sources import Row, json_lines, read_rows
from engine.errors import InvalidInput
from engine.rag.reading.cleaning import clean, one_line, stands_on_a_line
from engine.rag.reading.contents import opened, require_size, unread
from engine.rag.reading.files import CorpusFile
from engine.rag.reading.metadata import scalars
from engine.rag.reading.rules import Found, Rules, Unreadable, require_short
from engine.rag.records import Document, Rejected

# What a damaged file of a million rows may fill a report with.
_MOST_BROKEN = 100_000
_ESCAPED_BYTES = 12  # of a character in JSON, at most: two \uXXXX
_OTHER_COLUMNS = 1 << 20
_LONGEST_ID = 1000
_PACKED = (".parquet", ".arrow")  # files that may hold any number of rows in few bytes
_ROW_BYTES = 64


class Breaks:
    """The broken rows of a file that have not been told yet."""

    def __init__(self, file: CorpusFile) -> None:
        self._file = file
        self._count = 0
        self._untold: list[Rejected] = []

    def add(self, place: str, problem: str) -> None:
        """The row at `place` is broken. Raises Unreadable if too many are."""
        self._count += 1
        if self._count > _MOST_BROKEN:
            raise Unreadable(f"has more than {_MOST_BROKEN:,} broken rows; the rest is left out")
        self._untold.append(Rejected(self._file.name + place.removeprefix(self._file.path), problem))

    def untold(self) -> list[Rejected]:
        """Return the rows that were broken since the last call."""
        told, self._untold = self._untold, []
        return told


def read_jsonl(file: CorpusFile, rules: Rules) -> Found:
    """Yield the documents of a JSONL file, packed or not, a line at a time. Raises Unreadable, also in the middle."""
    breaks = Breaks(file)
    with opened(file.path, rules) as content:
        try:
            rows = json_lines(Path(file.path), _lines(file, content, rules, breaks), breaks)
            yield from documents(rows, file, rules, breaks)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise Unreadable(f"is damaged: {error}") from error


def read_table(file: CorpusFile, rules: Rules) -> Found:
    """Yield the documents of a file of rows that `engine.data.sources` reads. Raises Unreadable, also in the middle."""
    breaks = Breaks(file)
    try:
        require_size(os.stat(file.path).st_size, rules)  # noqa: PTH116 - the path is a text
        yield from documents(read_rows(Path(file.path), breaks), file, rules, breaks)
    except InvalidInput as error:
        line = (error.where or "").removeprefix(file.path)
        raise Unreadable(error.message.removesuffix(".").replace(file.path, file.name), line) from error
    except OSError as error:
        raise Unreadable(unread(error)) from error


def documents(rows: Iterable[Row], file: CorpusFile, rules: Rules, breaks: Breaks) -> Found:
    """Yield the documents of rows, and the rows that are none, in their order. Raises Unreadable."""
    room = rules.max_file_bytes
    packed = file.path.lower().endswith(_PACKED)
    try:
        for row in rows:
            yield from breaks.untold()
            characters = 0
            try:
                document = _document(row.values, file.name + row.place.removeprefix(file.path), rules)
            except Unreadable as error:
                breaks.add(row.place, str(error))
            else:
                yield document
                characters = len(document.text)
            if packed:
                room -= _ROW_BYTES + characters
                if room < 0:
                    raise _unpacks(rules)
    except Exception:
        yield from breaks.untold()
        raise
    yield from breaks.untold()


def _unpacks(rules: Rules) -> Unreadable:
    most = f"{rules.max_file_bytes:,}"
    return Unreadable(f"unpacks to more bytes than max_file_bytes ({most}); the rest is left out")


def _lines(file: CorpusFile, content: IO[bytes], rules: Rules, breaks: Breaks) -> Iterator[bytes]:
    """Yield the lines of a file; a blank one for a line too long to hold a document."""
    longest = rules.max_characters * _ESCAPED_BYTES + _OTHER_COLUMNS
    least = 1  # what a line counts for
    if file.path.lower().endswith(".gz"):
        least = _ROW_BYTES
        content = io.BufferedReader(gzip.GzipFile(fileobj=content))
    room, number = rules.max_file_bytes, 0
    while line := content.readline(longest):
        number += 1
        whole = len(line) < longest or line.endswith(b"\n")
        if not whole:
            breaks.add(f"{file.path}:{number}", f"is longer than {longest:,} bytes")
        yield line if whole else b""
        room -= max(len(line), least)
        while not whole and room >= 0:
            line = content.readline(longest)
            room -= len(line)
            whole = len(line) < longest or line.endswith(b"\n")
        if room < 0:
            raise _unpacks(rules)


def _document(values: dict[str, Any], place: str, rules: Rules) -> Document:
    """Return the document of a row. Raises Unreadable, which completes the sentence "FILE:LINE …"."""
    text = values.get(rules.text_key)
    if not isinstance(text, str):
        if rules.text_key not in values:
            raise Unreadable(f"has no column {rules.text_key!r}")
        raise Unreadable("has no text" if text is None else f"has a {rules.text_key!r} that is no text")
    text = clean(text)
    if not text:
        raise Unreadable("is empty")
    require_short(len(text), rules)
    title = values.get(rules.title_key)
    metadata = scalars(values, rules, {rules.text_key, rules.id_key, rules.title_key})
    identity = _identity(values.get(rules.id_key), rules) or place
    return Document(identity, text, place, one_line(title) if isinstance(title, str) else "", metadata)


def _identity(value: Any, rules: Rules) -> str:
    """Return a row's own id; "" if it has none."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):  # NaN: pandas has no None
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unreadable(f"has an {rules.id_key!r} that is neither text nor an integer")
    text = str(value)
    if len(text) > _LONGEST_ID or not stands_on_a_line(text):
        raise Unreadable(f"has an {rules.id_key!r} with control characters, or of more than {_LONGEST_ID:,} characters")
    return text
