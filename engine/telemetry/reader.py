"""Reads fact files as they grow: complete lines from a byte offset on. What is broken is told and passed over.

A file comes from a node and is not trusted: nothing that stands in it makes the reader fail or hold more than a piece
of it in memory.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Never, TypeVar

from engine.errors import RunFailed
from engine.telemetry.records import EventRecord, Level, MetricsRecord, Record, SampleRecord, StartRecord

AT_ONCE = 1 << 22  # bytes of a piece, and of the longest line
_LARGEST = 2**63 - 1  # integer that a database keeps
_MOST_PROBLEMS = 20  # told of one piece
_DEEPEST = 50  # documents within documents
_LONGEST_WORD = 80  # characters that a problem quotes
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a piece of a fact file holds."""

    records: Sequence[Record]
    offset: int  # bytes of the file that are done: where the next piece begins
    problems: Sequence[str]  # a sentence on each line that was passed over, from a bound on their number
    truncated: bool  # the file is shorter than what was read of it before: this piece is its first


class Malformed(ValueError):
    """A line is no record; the message says why, without a subject."""


def read_chunk(path: Path, offset: int, *, limit: int = AT_ONCE) -> Chunk:
    """Return the records of the complete lines from byte `offset` on.

    A last line without its newline is left for later; a line longer than `limit` bytes is passed over. A file that is
    not there yet is empty. Read again from `Chunk.offset` until the offset stays.

    Args:
        path: the file.
        offset: bytes of it that were read before.
        limit: most bytes to read, at least 1.

    Raises:
        RunFailed: if the file is there and cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Chunk((), offset, (), False)
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RunFailed("is not a plain file.", where=str(path))
        truncated = status.st_size < offset
        start = 0 if truncated else offset
        data = os.pread(descriptor, limit, start)
        complete = data.rfind(b"\n") + 1
        if complete == 0 and len(data) == limit:
            end = _end_of_line(descriptor, start + limit, limit)
            told = () if end is None else (f"byte {start}: the line is longer than {limit} bytes.",)
            return Chunk((), start if end is None else end, told, truncated)
    except OSError as error:
        raise _unreadable(path, error) from error
    finally:
        os.close(descriptor)
    problems = _Problems()
    records = list(_records(data[:complete], start, problems))
    return Chunk(records, start + complete, problems.sentences(), truncated)


def decode(line: bytes) -> Record:
    """Return the record that stands in a line; the inverse of `records.encode`.

    Keys that are not known are ignored: a newer engine may have written them.

    Raises:
        Malformed: if it is no record.
    """
    try:
        document = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        raise Malformed("is not UTF-8") from None
    except (ValueError, RecursionError):
        raise Malformed("is not JSON") from None
    if not isinstance(document, dict):
        raise Malformed("is not a JSON object")
    kind = document.get("kind")
    if not isinstance(kind, str) or kind not in _DECODERS:
        raise Malformed(f"has the unknown kind {_quoted(kind)}")
    return _DECODERS[kind](document)


class _Problems:
    """Sentences on broken lines, bounded in number."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._more = 0

    def add(self, offset: int, problem: Malformed) -> None:
        if len(self._told) < _MOST_PROBLEMS:
            self._told.append(f"byte {offset}: the line {problem}.")
        else:
            self._more += 1

    def sentences(self) -> tuple[str, ...]:
        more = (f"{self._more} more lines cannot be read.",) if self._more else ()
        return (*self._told, *more)


def _records(data: bytes, offset: int, problems: _Problems) -> Iterator[Record]:
    for line in data.split(b"\n")[:-1]:
        if line.strip():
            try:
                yield decode(line)
            except Malformed as problem:
                problems.add(offset, problem)
        offset += len(line) + 1


def _end_of_line(descriptor: int, offset: int, limit: int) -> int | None:
    """Return the offset behind the next newline, or None if there is none yet."""
    while data := os.pread(descriptor, limit, offset):
        found = data.find(b"\n")
        if found >= 0:
            return offset + found + 1
        offset += len(data)
    return None


def _unreadable(path: Path, error: OSError) -> RunFailed:
    return RunFailed(f"cannot be read: {error.strerror}.", where=str(path))


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _quoted(value: object) -> str:
    text = ascii(value) if value is None or isinstance(value, (str, int, float, bool)) else type(value).__name__
    return text if len(text) <= _LONGEST_WORD else text[: _LONGEST_WORD - 1] + "…"


def _field(document: Mapping[str, Any], name: str, read: Callable[[object], Value]) -> Value:
    if name not in document:
        raise Malformed(f"has no {name}")
    try:
        return read(document[name])
    except (TypeError, ValueError, OverflowError):
        raise Malformed(f"has a wrong {name}: {_quoted(document[name])}") from None


def _count(value: object) -> int:
    if type(value) is not int:
        raise TypeError
    if not 0 <= value <= _LARGEST:
        raise ValueError
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not math.isfinite(value):
        raise ValueError
    return float(value)


def _number(value: object) -> float:
    if isinstance(value, str):
        return _NON_FINITE[value] if value in _NON_FINITE else float("no number")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _mapping(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return value


def _data(value: object, depth: int = 0) -> Any:
    """Return a document that prints as JSON again: not too deep, and 1e999 is the string "inf"."""
    if depth > _DEEPEST:
        raise ValueError
    if isinstance(value, dict):
        return {name: _data(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_data(item, depth + 1) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _numbers(value: object) -> dict[str, float]:
    return {name: _number(number) for name, number in _mapping(value).items()}


def _optional(read: Callable[[object], Value]) -> Callable[[object], Value | None]:
    return lambda value: None if value is None else read(value)


def _start(document: Mapping[str, Any]) -> StartRecord:
    return StartRecord(
        time=_field(document, "time", _time),
        attempt=_field(document, "attempt", _count),
        resumed_step=_field(document, "resumed_step", _count),
        total_steps=_field(document, "total_steps", _count),
    )


def _metrics(document: Mapping[str, Any]) -> MetricsRecord:
    return MetricsRecord(
        time=_field(document, "time", _time),
        attempt=_field(document, "attempt", _count),
        step=_field(document, "step", _count),
        metrics=_field(document, "metrics", _numbers),
    )


def _event(document: Mapping[str, Any]) -> EventRecord:
    return EventRecord(
        time=_field(document, "time", _time),
        attempt=_field(document, "attempt", _count),
        event=_field(document, "event", _text),
        message=_field(document, "message", _text),
        level=_field({"level": Level.INFO, **document}, "level", lambda value: Level(_text(value))),
        step=_field({"step": None, **document}, "step", _optional(_count)),
        data=_field({"data": {}, **document}, "data", lambda value: _data(_mapping(value))),
    )


def _sample(document: Mapping[str, Any]) -> SampleRecord:
    return SampleRecord(
        time=_field(document, "time", _time),
        attempt=_field(document, "attempt", _count),
        step=_field(document, "step", _count),
        prompt=_field(document, "prompt", _text),
        response=_field(document, "response", _text),
        reference=_field({"reference": None, **document}, "reference", _optional(_text)),
        scores=_field({"scores": {}, **document}, "scores", _numbers),
    )


_DECODERS: Mapping[str, Callable[[Mapping[str, Any]], Record]] = {
    "start": _start,
    "metrics": _metrics,
    "event": _event,
    "sample": _sample,
}
