"""What was left out of a copy is told from what was written, whatever the window and whether the file is sparse."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store import log_copies
from engine.store.log_copies import BLOCK_BYTES, HOLE_BYTES, Hole, hole_start, left_out, pieces

# Runs of NULs around the size that makes a hole, of blocks, and of what a file system stores at once.
nuls = st.sampled_from([1, 100, HOLE_BYTES - 1, HOLE_BYTES, HOLE_BYTES + 1, 3 * HOLE_BYTES + 7, 2 * BLOCK_BYTES + 5])
texts = st.sampled_from([1, 50, HOLE_BYTES - 1, HOLE_BYTES, BLOCK_BYTES - 3, BLOCK_BYTES])
parts = st.lists(st.tuples(texts, nuls), max_size=5)


def written(path: Path, layout: list[tuple[int, int]], sparse: bool) -> bytes:
    """Write texts with NULs between them, these as holes or as bytes; return what the file holds."""
    content = b"".join(b"x" * text + bytes(gap) for text, gap in layout)
    with path.open("wb") as file:
        for text, gap in layout:
            file.write(b"x" * text)
            if sparse:
                file.truncate(file.seek(gap, os.SEEK_CUR))
            else:
                file.write(bytes(gap))
    assert path.stat().st_size == len(content)
    return content


@settings(max_examples=200)
@given(parts, st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_any_window_shows_every_byte_once_and_the_runs_of_nuls_that_are_holes(
    tmp_path_factory: pytest.TempPathFactory, layout: list[tuple[int, int]], sparse: bool, one: float, two: float
) -> None:
    path = tmp_path_factory.mktemp("log") / "rank-0.log"
    content = written(path, layout, sparse)
    begin, end = sorted((round(one * len(content)), round(two * len(content))))
    is_hole: list[bool] = []
    for byte, run in groupby(content):
        size = len(list(run))
        is_hole += [byte == 0 and size >= HOLE_BYTES] * size
    with path.open("rb") as file:
        seen, holes = b"", []
        for piece in pieces(file.fileno(), begin, end):
            size = piece.size if isinstance(piece, Hole) else len(piece)
            holes += [isinstance(piece, Hole)] * size
            seen += bytes(size) if isinstance(piece, Hole) else piece
            assert size > 0
        assert seen == content[begin:end] and holes == is_hole[begin:end]
        assert hole_start(file.fileno(), end) == len(content[:end].rstrip(b"\0"))


def test_a_hole_of_a_hundred_gigabytes_is_passed_over_and_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rank-0.log"
    size = 100 * 10**9
    with path.open("wb") as file:
        file.write(b"before\n")
        file.seek(size, os.SEEK_CUR)
        file.write(b"after\n")
    read = 0
    real = os.pread

    def counting(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = real(descriptor, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr(log_copies.os, "pread", counting)
    with path.open("rb") as file:
        found = list(pieces(file.fileno(), 0, size + 100))
        assert [piece for piece in found if isinstance(piece, Hole)] == [Hole(size)]
        assert b"".join(piece for piece in found if isinstance(piece, bytes)) == b"before\nafter\n"
        assert hole_start(file.fileno(), 7 + size) == 7
    assert read < 4 * BLOCK_BYTES


def test_the_line_for_a_hole_names_the_command_that_reads_what_was_there() -> None:
    log = Path("/x/experiments.runs/sft-0041/attempt-2/node-1/rank-12.log")
    command = "engine logs sft-0041 --attempt 2 --rank 12 --remote"
    assert left_out(12_400_000, log) == f"… 12.4 MB left out; {command} reads the file itself …"
    assert left_out(12_400_000, log.with_name("agent.log")) == "… 12.4 MB left out …"
