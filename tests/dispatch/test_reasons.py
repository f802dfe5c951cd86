"""The sentence that says why a run ended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.dispatch.observation import Exit, RankEnd, Why
from engine.dispatch.reasons import rank_failed, telling_line


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ("", ""),
        ("step 1\nstep 2\n", "step 2"),
        ("Traceback\n  File x\nValueError: no\n[rank0] cleanup\n", "ValueError: no"),
        ("error: the data is broken.\nRuntimeError: x\nbye\n", "error: the data is broken."),
        ("\x1b[31merror: red\x1b[0m\r\n", "error: red"),
        ("progress 10%\rprogress 90%\r", "progress 90%"),
    ],
)
def test_the_line_that_tells_most_is_chosen(log: str, line: str) -> None:
    assert telling_line(log) == line


@given(st.text())
def test_no_log_can_make_a_reason_long_or_command_a_terminal(log: str) -> None:
    line = telling_line(log)
    assert len(line) <= 240
    assert not any(character in line for character in "\x1b\x07\n\r\x9b")


def test_it_names_rank_node_and_how() -> None:
    assert rank_failed("n1", RankEnd(3, 1, None, "error: x.")) == "rank 3 (n1) exited with code 1: error: x."
    assert rank_failed("n1", RankEnd(3, None, 9)) == "rank 3 (n1) was killed by SIGKILL."
    assert rank_failed("n1", RankEnd(3, None, None, "error: y")) == "rank 3 (n1) could not be started: error: y"

    assert (
        rank_failed("n1", RankEnd(3, None, 9, slot=1, step=7)) == "rank 3 (n1, slot 1) was killed by SIGKILL at step 7."
    )


def test_memory_and_disks_that_ran_out_are_told_first() -> None:
    words = "CUDA out of memory at step 412: tried to allocate 2.0 GB; of 79.1 GB, 71.0 GB were weights"
    end = RankEnd(37, 1, None, f"Traceback …\nerror: {words}\n", slot=5, step=412)
    assert rank_failed("node-5", end) == f"rank 37 (node-5, slot 5): {words}"
    full = RankEnd(0, 1, None, "warning: the checkpoint o", slot=0, disk_free_bytes=4096)
    assert rank_failed("n1", full).endswith("exited with code 1: the disk of n1 is full; free some, and resume it.")


@pytest.mark.parametrize("document", [{}, {"why": "?"}, {"why": "ok"}, {"why": "ok", "time": "x"}, [], 3])
def test_a_damaged_exit_record_is_no_record(document: object) -> None:
    with pytest.raises(ValueError):
        Exit.from_document(document)  # type: ignore[arg-type]


def test_an_exit_record_is_read_whole() -> None:
    document = {"why": "rank_failed", "time": 2, "first": {"rank": 1, "code": None, "signal": 9, "tail": "x"}}
    assert Exit.from_document(document) == Exit(Why.RANK_FAILED, 2.0, RankEnd(1, None, 9, "x"))
