"""Where a rank is, as its agent reads it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from engine.telemetry.progress import FOLDER_VARIABLE, LINE_BYTES, ProgressMark, progress_file, read_progress


def test_the_last_mark_is_read_whatever_came_before(tmp_path: Path) -> None:
    mark = ProgressMark.of_environment({FOLDER_VARIABLE: str(tmp_path), "RANK": "37"})
    began = time.monotonic()
    for step, phase in (
        (1, "data"),
        (123_456_789, "forward_backward"),
        (2, "a-phase-whose-name-is-too-long-for-the-line"),
    ):
        mark.mark(step, phase)
        found = read_progress(progress_file(tmp_path, 37))
        assert found is not None
        assert (found.step, found.phase) == (step, phase[:24])
        assert began - 0.001 <= found.at <= time.monotonic() + 0.001
    assert progress_file(tmp_path, 37).stat().st_size == LINE_BYTES
    mark.close()
    mark.mark(3, "later")  # remembered, written nowhere
    assert (mark.step, mark.phase) == (3, "later")


def test_without_an_agent_it_only_remembers(tmp_path: Path) -> None:
    for mark in (ProgressMark.of_environment({}), ProgressMark(tmp_path / "gone", 0)):
        mark.mark(412, "step")
        assert mark.step == 412
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_reaches_nobody() -> None:
    mark = ProgressMark(None, 0)
    mark._descriptor = os.open("/dev/full", os.O_WRONLY)
    mark.mark(1, "data")
    mark.close()
    assert mark.step == 1


def test_what_is_no_mark_is_none(tmp_path: Path) -> None:
    file = tmp_path / "rank-0.progress"
    assert read_progress(file) is None
    for text in ("", "1 data\n", "x" * LINE_BYTES, "\0" * LINE_BYTES):
        file.write_text(text)
        assert read_progress(file) is None
