"""A log is searched on its node in bounded memory and time, and `tail` reads only its end. Real companions."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.hostfile import local_hostfile
from engine.cluster.node import log_search
from engine.cluster.node.processes import process_start
from engine.cluster.session import NodeSession
from engine.errors import RunFailed

MB = 1 << 20


@pytest.fixture
def session() -> Iterator[NodeSession]:
    with NodeSession.connect(local_hostfile().nodes[0]) as session:
        yield session


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "attempt-1" / "node-0" / "rank-3.log"
    path.parent.mkdir(parents=True)
    return path


def asked(session: NodeSession, log: Path, **more: Any) -> list[str]:
    found = bytearray()
    where = {"run_dir": str(log.parents[2]), "attempt": 1, "node": 0, "rank": 3}
    answer = session.ask("search", seconds=60, on_piece=lambda header, data: found.extend(data), **where, **more)
    assert not answer.get("missing")
    return found.decode().splitlines()


def test_lines_come_as_they_are_and_the_last_ones_of_them_from_the_end(session: NodeSession, log: Path) -> None:
    lines = [f"step {number} {'odd' if number % 2 else 'even'}" for number in range(200_000)]
    log.write_text("\n".join(lines))  # the last one has no newline yet
    assert asked(session, log) == lines
    assert asked(session, log, tail=3) == lines[-3:]
    assert asked(session, log, tail=0) == []
    assert asked(session, log, tail=10**9) == lines
    assert asked(session, log, grep="odd$", tail=70_000) == [line for line in lines if "odd" in line][-70_000:]
    assert asked(session, log, grep=r"^step \d*77777 ") == ["step 77777 odd", "step 177777 odd"]
    assert asked(session, log, grep="nowhere") == asked(session, log, grep="nowhere", tail=5) == []


def test_a_line_without_end_comes_in_pieces_and_nothing_of_it_is_lost(session: NodeSession, log: Path) -> None:
    longest = log_search.LONGEST_LINE
    log.write_bytes(b"first\n" + b"x" * (5 * MB) + b"needle\n" + b"y" * longest + b"\nlast\n")
    found = asked(session, log)
    assert max(map(len, found)) == longest
    assert (found[0], found[-2:]) == ("first", ["y" * longest, "last"])
    assert "".join(found[1:-2]) == "x" * (5 * MB) + "needle"
    assert asked(session, log, grep="needle") == ["needle"]
    assert asked(session, log, tail=3) == ["needle", "y" * longest, "last"]


def test_a_regular_expression_that_takes_for_ever_is_ended_and_the_node_answers_meanwhile(
    session: NodeSession, log: Path
) -> None:
    log.write_text("a" * 60 + "b\n")
    with pytest.raises(RunFailed, match=r"took more than 0\.3 s of processor time"):
        asked(session, log, grep="(a+)+$", limit=0.3)
    assert session.ask("clock")
    with pytest.raises(RunFailed, match="is not a regular expression for its Python"):
        asked(session, log, grep="(")


def test_a_search_ends_with_whoever_asked(log: Path) -> None:
    log.write_text("a" * 60 + "b\n")
    with NodeSession.connect(local_hostfile().nodes[0]) as session:
        where = {"run_dir": str(log.parents[2]), "attempt": 1, "node": 0, "rank": 3}
        session.tell("search", grep="(a+)+$", **where)
        while not (running := searches(log)):
            time.sleep(0.02)
    give_up = time.monotonic() + 30
    while any(process_start(pid) is not None for pid in running):
        assert time.monotonic() < give_up
        time.sleep(0.02)


def searches(log: Path) -> list[int]:
    """Return the processes that search a log."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(log) in words:
            found.append(int(path.parent.name))
    return found


def test_the_memory_of_a_search_is_bounded_however_large_the_log_is(log: Path) -> None:
    with log.open("wb") as file:
        for number in range(300):
            file.write(b"%7d %s\n" % (number, b"." * 90) * 10_000)
    assert log.stat().st_size > 270 * MB

    def bound() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (200 * MB, 200 * MB))

    program = Path(log_search.__file__).read_text()
    command = [sys.executable, "-I", "-S", "-c", program, str(log)]
    for arguments, lines in ((("^ +123 ", ""), 10_000), (("", "1000000"), 1_000_000)):
        words = [*command, *arguments, "60", str(os.getpid())]
        done = subprocess.Popen(words, stdout=subprocess.PIPE, preexec_fn=bound)  # noqa: PLW1509
        assert done.stdout is not None
        assert sum(1 for _ in done.stdout) == lines
        assert done.wait() == 0
