"""Copies of logs on this machine: what was left out of one is a hole, which reads as NULs and is told in one line.

The dispatcher copies logs within bounds. Of a log that grew faster it brings the end, and leaves a hole before it.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.plan.sizes import in_words

HOLE_BYTES = 4096  # as many NULs in a row are a hole; fewer were written by somebody
BLOCK_BYTES = 256 * 1024  # read at once
_RUN = re.compile(rb"\0{%d,}" % HOLE_BYTES)
_NULS = bytes(HOLE_BYTES)


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a copy that was left out."""

    size: int  # bytes


def left_out(size: int, path: Path) -> str:
    """Return the line that stands for a hole of `size` bytes in a copy, and says how to read what was there."""
    told = f"… {in_words(size)} left out"
    if not path.name.startswith("rank-"):
        return f"{told} …"
    experiment, attempt = path.parents[2].name, path.parents[1].name.removeprefix("attempt-")
    command = f"engine logs {experiment} --attempt {attempt} --rank {path.stem.removeprefix('rank-')} --remote"
    return f"{told}; {command} reads the file itself …"


def pieces(descriptor: int, begin: int, end: int) -> Iterator[bytes | Hole]:
    """Yield what stands in a file from one offset to another, in blocks, and the holes there.

    What is a hole depends on the file alone and not on the window: of one that reaches beyond it, the part inside is
    yielded. Holes that the file system knows of are passed over and not read. Raises OSError.
    """
    end = min(end, os.fstat(descriptor).st_size)
    outside = _nuls_before(descriptor, begin)  # of the first run
    at, nuls = begin, 0  # nuls: the last ones before `at`, not yielded yet
    while at < end:
        data_at = _next_data(descriptor, at, end)
        if data_at > at:
            nuls += data_at - at
            at = data_at
            continue
        block = os.pread(descriptor, min(BLOCK_BYTES, end - at), at)
        if not block:
            return
        at += len(block)
        text = block.lstrip(b"\0")
        nuls += len(block) - len(text)
        if text:
            yield from _run(nuls, outside)
            outside = 0
            body = text.rstrip(b"\0")
            nuls = len(text) - len(body)
            yield from _cut(body)
    if nuls:
        yield from _run(nuls, outside + _nuls_after(descriptor, end))


def hole_start(descriptor: int, end: int) -> int:
    """Return where the NULs begin that end at an offset. Raises OSError."""
    at = end
    while at > 0:
        begin = max(0, at - BLOCK_BYTES)
        kept = len(os.pread(descriptor, at - begin, begin).rstrip(b"\0"))
        if kept:
            return begin + kept
        at = _sparse_start(descriptor, begin)
    return 0


def _run(nuls: int, outside: int) -> Iterator[bytes | Hole]:
    """Yield a run of NULs. outside: how many more of it stand outside the window."""
    if nuls and nuls + outside >= HOLE_BYTES:
        yield Hole(nuls)
    elif nuls:
        yield bytes(nuls)


def _cut(body: bytes) -> Iterator[bytes | Hole]:
    """Yield a block that neither begins nor ends with a NUL, cut at its holes."""
    at = 0
    if _NULS in body:
        for run in _RUN.finditer(body):
            yield body[at : run.start()]
            yield Hole(len(run[0]))
            at = run.end()
    yield body[at:]


def _nuls_before(descriptor: int, offset: int) -> int:
    """Return how many NULs stand right before an offset, as far as that matters."""
    context = os.pread(descriptor, min(HOLE_BYTES, offset), max(0, offset - HOLE_BYTES))
    return len(context) - len(context.rstrip(b"\0"))


def _nuls_after(descriptor: int, offset: int) -> int:
    context = os.pread(descriptor, HOLE_BYTES, offset)
    return len(context) - len(context.lstrip(b"\0"))


def _next_data(descriptor: int, at: int, end: int) -> int:
    """Return the first offset from `at` on that the file system stores, at most `end`; `at` where it cannot tell."""
    try:
        return min(os.lseek(descriptor, at, os.SEEK_DATA), end)
    except OSError as error:
        return end if error.errno == errno.ENXIO else at


def _sparse_start(descriptor: int, end: int) -> int:
    """Return where what the file system does not store begins that ends at `end`; `end` where there is none such."""
    at = 0
    while True:
        try:
            hole = os.lseek(descriptor, at, os.SEEK_HOLE)
        except OSError:
            return end
        if hole >= end:
            return end
        at = _next_data(descriptor, hole, end)
        if at >= end:
            return hole
