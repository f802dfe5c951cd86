"""Levels, times and rows of the lines of a log."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.telemetry.records import Level
from tui.logs.levels import Counted, LevelCounter, Shown, level_of
from tui.logs.rows import LogRows, Row
from tui.logs.times import LogTimes


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("RuntimeError: no", Level.INFO),
        ("error: no", Level.ERROR),
        ("Traceback (most recent call last):", Level.ERROR),
        ("UserWarning: old", Level.INFO),
        ("[WARNING] old", Level.WARNING),
        ("warn: an error", Level.ERROR),
        ("all is well", Level.INFO),
    ],
)
def test_how_bad_a_line_is_stands_in_a_word_of_its_own(line: str, level: Level) -> None:
    assert level_of(line) is level
    assert Shown.ALL.has(level) and Shown.ERRORS.has(level) is (level is Level.ERROR)


def test_lines_of_growing_logs_are_counted_once(tmp_path: Path) -> None:
    quiet, loud = tmp_path / "rank-0.log", tmp_path / "rank-1.log"
    quiet.write_bytes(b"fine\n")
    loud.write_bytes(b"warning: one\nerror: two\nwarning: half")
    counter = LevelCounter()
    assert counter.count([quiet, loud, tmp_path / "none.log"]) == {loud: Counted(1, 1)}
    with loud.open("ab") as file:
        file.write(b" a line\nfatal\n")
    assert counter.count([quiet, loud]) == {loud: Counted(2, 2)}
    assert str(Counted(2, 1)) == "1 error, 2 warnings"
    loud.write_bytes(b"begun anew\n")
    assert counter.count([quiet, loud]) == {}


def test_a_line_is_as_old_as_its_clock_its_step_or_its_coming_say() -> None:
    steps = {4: 400.0}
    times = LogTimes(steps.get)
    lines = ["hello", "[2026-05-28T21:04:02.5Z] there", "more", "step 4/100  loss 1", "step 5/100  loss 1", "now"]
    offsets = [0, 10, 50, 60, 90, 120]
    times.came([120], 500.0)
    clock = datetime(2026, 5, 28, 21, 4, 2, tzinfo=UTC).timestamp()

    def told() -> list[tuple[float, bool] | None]:
        return [moment and (moment.seconds, moment.own) for moment in times.moments(lines, offsets)]

    assert told() == [None, (clock, True), (clock, False), (400.0, True), (400.0, False), (500.0, True)]
    steps[5] = 405.0
    assert told()[4] == (405.0, True), "the point of a step may come after its line"


@given(
    st.lists(st.text(max_size=40), max_size=12), st.integers(1, 15) | st.none(), st.sets(st.integers(0, 11), max_size=3)
)
def test_every_cell_of_every_line_stands_in_one_row(lines: list[str], width: int | None, marked: set[int]) -> None:
    rows = LogRows(lines, None, width, marked)
    found = [rows.row(number) for number in range(len(rows))]
    for index, line in enumerate(lines):
        own = [row.first for row in found if row.line == index and not row.is_mark]
        assert own == ([0] if width is None else list(range(0, max(1, cell_len(line)), width)))
        assert sum(row.is_mark for row in found if row.line == index) == (index in marked)
        assert found[rows.first_row_of(index)] == Row(index, 0)


def test_lines_that_are_left_out_have_no_row() -> None:
    rows = LogRows(["a", "b", "c", "d"], [1, 3], None, ())
    assert [rows.row(number).line for number in range(len(rows))] == [1, 3]
    assert rows.first_row_of(2) == 1
