"""The bytes of a file and the characters they stand for: all of them, or a reason why not."""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.rag.reading.rules import Rules, Unreadable

_PIECE = 1 << 20
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


@contextmanager
def opened(path: str, rules: Rules) -> Iterator[io.BufferedReader]:
    """Open a file that is neither empty nor too large.

    Raises:
        Unreadable: if it is empty, larger than `max_file_bytes`, or cannot be opened or read.
    """
    try:
        # not blocking: what was a file may have become a pipe that nobody writes
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as content:
            require_size(os.fstat(content.fileno()).st_size, rules)
            yield content
    except OSError as error:
        raise Unreadable(unread(error)) from error


def unread(error: OSError) -> str:
    """Say why the operating system gives no bytes; completes the sentence "FILE …"."""
    if isinstance(error, FileNotFoundError):
        return "was there and vanished"
    return f"cannot be read: {error.strerror or error}"


def require_size(size: int, rules: Rules) -> None:
    """Raise Unreadable if a file has no bytes, or too many."""
    if not size:
        raise Unreadable("is empty")
    if size > rules.max_file_bytes:
        raise Unreadable(f"has {size:,} bytes, more than max_file_bytes ({rules.max_file_bytes:,})")


def read_bytes(path: str, rules: Rules) -> bytes:
    """Return the content of a file. Raises Unreadable, also if it has grown too large since it was opened."""
    pieces: list[bytes] = []
    size = 0
    with opened(path, rules) as file:
        while piece := file.read(_PIECE):  # a buffer as large as the largest file would be allocated at once
            pieces.append(piece)
            size += len(piece)
            require_size(size, rules)
    return b"".join(pieces)


def mark_of(content: bytes) -> tuple[str, bytes] | None:
    """Return the encoding that a byte order mark tells, and the mark; None without one."""
    return next(((encoding, mark) for mark, encoding in _MARKS.items() if content.startswith(mark)), None)


def decoded(content: bytes, otherwise: str = "utf-8") -> str:
    """Return the text: by its byte order mark, without one in the encoding `otherwise`. Raises Unreadable if wrong."""
    encoding, mark = mark_of(content) or (otherwise, b"")
    try:
        return content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        at = len(mark) + error.start
        found = f"byte {at + 1:,} (0x{content[at]:02x})"
        raise Unreadable(f"is not {encoding.upper()}: {error.reason} at {found}") from error
