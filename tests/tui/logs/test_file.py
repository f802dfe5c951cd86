"""Hostile logs are shown, not obeyed, and never fill the memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tui.logs.file import BLOCK, LONGEST_LINE, MOST_LINES, LogFile
from tui.text.safe import log_line, visible


@given(st.binary(max_size=200))
def test_any_bytes_become_printable_text(raw) -> None:
    assert log_line(raw).isprintable()


@given(st.text(max_size=100))
def test_any_text_becomes_printable_and_printable_text_stays(text) -> None:
    shown = visible(text)
    assert shown.isprintable()
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;evil title\x07text", "text"),
        (b"\x1b]52;c;ZXZpbA==\x1b\\text", "text"),
        (b"\x1b[2J\x1b[Hhome", "home"),
        (b"a\x1b", "a‹1B›"),
        ("\x9b2Jc1".encode(), "‹9B›2Jc1"),
        (b"10%|#   |\r50%|##  |\r100%|####|\r\n", "100%|####|"),
        ("abc\u202edef\u2066".encode(), "abc‹202E›def‹2066›"),
        (b"bad \xff byte", "bad \\xff byte"),
        (b"tab\there", "tab here"),
        ("Größe 損失 🙂".encode(), "Größe 損失 🙂"),
    ],
)
def test_what_steers_a_terminal_is_not_obeyed(raw, shown) -> None:
    assert log_line(raw) == shown


def test_lines_come_once_in_order_however_the_file_grows(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    log = LogFile(path)
    assert not log.poll() and log.lines == []
    written = "".join(f"line {number}\n" for number in range(300)).encode() + b"half"
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(written), 37):
            file.write(written[at : at + 37])
            log.poll()
    assert log.lines == [f"line {number}" for number in range(300)]
    assert log.partial == "half"
    assert not log.poll()


def test_a_large_log_is_read_from_its_end_and_back_to_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"".join(b"line %06d %s\n" % (number, b"." * 90) for number in range(20_000)))
    log = LogFile(path)
    log.poll()
    assert log.lines[-1].startswith("line 019999") and len(log.lines) < 3_000
    while log.read_older():
        assert len(log.lines) <= MOST_LINES
    assert log.lines[0].startswith("line 000000") and not log.at_end
    numbers = [int(line.split()[1]) for line in log.lines]
    assert numbers == list(range(len(numbers)))
    log.to_end()
    log.poll()
    assert log.lines[-1].startswith("line 019999") and log.at_end


def test_a_line_of_ten_megabytes_is_cut_and_tells_its_size(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"before\n" + b"x" * 10_000_000 + b"\nafter\n")
    log = LogFile(path)
    log.poll()
    assert log.lines[0] == "before" and log.lines[-1] == "after"
    assert len(log.lines) == 3 and log.lines[1].endswith("(10,000,000 bytes)")
    assert len(log.lines[1]) < LONGEST_LINE + 40
    path.write_bytes(b"y" * (3 * BLOCK))
    log.poll()
    assert log.partial and len(log.partial) < LONGEST_LINE + 40


def test_a_progress_bar_without_newline_shows_its_last_state(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"".join(b"\r%7d/50000 steps" % step for step in range(50_001)))
    log = LogFile(path)
    log.poll()
    assert log.partial.strip() == "50000/50000 steps"


def test_a_replaced_or_truncated_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"one\ntwo\n")
    log = LogFile(path)
    log.poll()
    path.write_bytes(b"new\n")
    assert log.poll() and log.lines == ["new"]
    other = tmp_path / "other"
    other.write_bytes(b"three\nfour\nfive\n")
    other.rename(path)
    assert log.poll() and log.lines == ["three", "four", "five"]
    path.unlink()
    assert log.poll() and log.lines == []


def test_a_burst_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"first\n")
    log = LogFile(path)
    log.poll()
    with path.open("ab") as file:
        file.write(b"noise noise noise\n" * 200_000 + b"last\n")
    log.poll()
    assert log.lines[-1] == "last" and log.skipped > 1_000_000 and log.has_older


def with_hole(path: Path, before: bytes, hole: int, after: bytes) -> None:
    """Add to a copy as the dispatcher does where it leaves something out."""
    with path.open("ab", buffering=0) as file:
        file.write(before)
        file.truncate(os.fstat(file.fileno()).st_size + hole)
        file.write(after)


def unnumbered(lines: list[str]) -> list[str]:
    return [line.split(" left out")[0] for line in lines]


def copy_of_a_log(folder: Path) -> Path:
    path = folder / "sft-0041/attempt-1/node-0/rank-3.log"
    path.parent.mkdir(parents=True)
    return path


SIZES = {4_096: "4.1 kB", 4 * BLOCK: "1.0 MB", 12_400_000: "12.4 MB", 10_000_000_000: "10.0 GB"}


@pytest.mark.parametrize("hole", SIZES)
@pytest.mark.parametrize("count", [1, 3, 20_000])
def test_what_was_left_out_of_a_copy_is_one_line_read_forwards_and_backwards(
    tmp_path: Path, hole: int, count: int
) -> None:
    path = copy_of_a_log(tmp_path)
    numbered = [f"line {number}" for number in range(count)]
    text = "".join(f"{line}\n" for line in numbered).encode()
    path.write_bytes(text)
    follower = LogFile(path)
    follower.poll()
    with_hole(path, b"cut of", hole, b"f here\n" + text)
    follower.poll()
    if not follower.skipped:
        shown = [*numbered, "cut of", f"… {SIZES[hole]}", "f here", *numbered][-len(follower.lines) :]
        assert unnumbered(follower.lines) == shown
    backwards = LogFile(path)
    backwards.poll()
    read = list(backwards.lines)
    while found := backwards.read_older():
        read[:0] = backwards.lines[:found]
    assert unnumbered(read) == [*numbered, "cut of", f"… {SIZES[hole]}", "f here", *numbered]
    assert "engine logs sft-0041 --attempt 1 --rank 3 --remote" in read[count + 1]


def test_a_view_that_begins_inside_of_what_was_left_out_tells_its_whole_size(tmp_path: Path) -> None:
    path = copy_of_a_log(tmp_path)
    with_hole(path, b"before", 5_000_000, b"after\n")
    log = LogFile(path)
    log.poll()
    assert unnumbered(log.lines) == ["before", "… 5.0 MB", "after"]
    with_hole(path, b"", 3 * BLOCK, b"")
    log.poll()
    with_hole(path, b"more", 3 * BLOCK, b"end")
    log.poll()
    shown = ["before", "… 5.0 MB", "after", "… 786.4 kB", "more", "… 786.4 kB"]
    assert unnumbered(log.lines) == shown and log.partial == "end"


def test_a_few_nuls_that_a_program_wrote_are_no_hole(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    path.write_bytes(b"a" + bytes(4_095) + b"b\n")
    log = LogFile(path)
    log.poll()
    assert len(log.lines) == 1 and log.lines[0].startswith("a‹00›") and "4,097 bytes" in log.lines[0]
