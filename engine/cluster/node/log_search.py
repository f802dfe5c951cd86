"""The program that reads a log on its node: prints the lines that match, each within bounds. Bytes in, bytes out.

It is a process of its own, since a regular expression can take for ever and nothing else of the same Python gets its
turn then. It ends when its processor time is used up, and when whoever asked has gone.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import BinaryIO

BLOCK_BYTES = 1 << 20
LONGEST_LINE = 64 << 10  # bytes; a longer line comes in pieces
_FARTHEST_LINE_START = 64 << 20  # bytes back; a line that is longer still begins there
_PR_SET_PDEATHSIG = 1
_NICENESS = 10  # training comes first

Matches = Callable[[bytes], bool]


def lines(file: BinaryIO, begin: int, end: int) -> Iterator[bytes]:
    """Yield the lines from one offset to another, without their ends."""
    rest = b""
    while begin < end:
        file.seek(begin)
        block = file.read(min(BLOCK_BYTES, end - begin))
        if not block:
            break
        begin += len(block)
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            if len(line) <= LONGEST_LINE:
                yield line
            else:
                yield from (line[at : at + LONGEST_LINE] for at in range(0, len(line), LONGEST_LINE))
        while len(rest) > LONGEST_LINE:
            yield rest[:LONGEST_LINE]
            rest = rest[LONGEST_LINE:]
    if rest:
        yield rest


def tail(file: BinaryIO, size: int, wanted: int, matches: Matches) -> tuple[int, int]:
    """Return from where on the last lines that match are to be read, and how many matches come before them there.

    Of the file only as much is read, from the end, as holds them.
    """
    end, found = size, 0
    while end > 0 and found < wanted:
        begin = _line_start(file, max(0, end - BLOCK_BYTES))
        found += sum(1 for line in lines(file, begin, end) if matches(line))
        end = begin
    return end, max(0, found - wanted)


def _line_start(file: BinaryIO, offset: int) -> int:
    """Return the first byte of the line that holds an offset."""
    limit = max(0, offset - _FARTHEST_LINE_START)
    while offset > limit:
        begin = max(limit, offset - BLOCK_BYTES)
        file.seek(begin)
        newline = file.read(offset - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        offset = begin
    return limit


def matcher(expression: str) -> Matches:
    """Return what tells whether a line matches; an empty expression matches all. Raises re.error."""
    if not expression:
        return lambda line: True
    search = re.compile(expression).search

    def matches(line: bytes) -> bool:
        text = line.decode("utf-8", "replace")
        return search(text[:-1] if text.endswith("\r") else text) is not None

    return matches


def print_matches(path: str, expression: str, wanted: int | None, watcher: int) -> None:
    """Print the lines of a file that match, as it is now. Raises OSError, re.error.

    wanted: only so many, the last ones; watcher: the process without which nobody reads them.
    """
    matches = matcher(expression)
    out = sys.stdout.buffer
    with open(path, "rb") as file:  # noqa: PTH123
        size = file.seek(0, os.SEEK_END)
        begin, passed_over = (0, 0) if wanted is None else tail(file, size, wanted, matches)
        read = flushed = 0
        for line in lines(file, begin, size):
            if matches(line):
                if passed_over:
                    passed_over -= 1
                else:
                    out.write(line + b"\n")
            read += len(line) + 1
            if read - flushed >= BLOCK_BYTES:
                flushed = read
                out.flush()  # what was found early is seen early
                if os.getppid() != watcher:
                    return
    out.flush()


def main(path: str, expression: str, wanted: str, seconds: str, watcher: str) -> int:
    """Do what the arguments say, as `print_matches`; return the exit code.

    wanted: a number, or nothing; seconds: of processor time, SIGPROF ends it then; watcher: its parent.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(watcher):  # it went before it could be watched
        return 1
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, float(seconds))
    os.nice(_NICENESS)
    try:
        print_matches(path, expression, int(wanted) if wanted else None, int(watcher))
    except re.error as error:
        version = ".".join(map(str, sys.version_info[:2]))
        sys.stderr.write(f"{expression!r} is not a regular expression for its Python {version}: {error}")
        return 1
    except OSError as error:
        sys.stderr.write(f"{path}: {error.strerror}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
