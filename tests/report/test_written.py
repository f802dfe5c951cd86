"""Files are written whole or not at all, and what stood there stays."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Refused, RunFailed
from engine.report.written import write_file, write_new


def test_another_file_is_never_lost_unless_that_is_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    write_file(file, "one")
    write_file(file, "one")
    with pytest.raises(Refused, match="is there already"):
        write_file(file, "two")
    assert file.read_text() == "one" and write_new(tmp_path, "page", "html", "two").name == "page-2.html"
    write_file(file, "three", over=True)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["page-2.html", "page.html"]
    assert file.read_text() == "three" and write_new(tmp_path, "a/b", "csv", "").name == "a_b.csv"


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old.html").write_text("old")
    opened = Path.open

    def full(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        file = opened(path, mode, *rest, **more)
        return _Full(file) if "x" in mode else file

    monkeypatch.setattr(Path, "open", full)
    for write in (
        lambda: write_file(tmp_path / "old.html", "new", over=True),
        lambda: write_new(tmp_path, "a", "csv", "x"),
    ):
        with pytest.raises(RunFailed, match="cannot be written: No space left on device"):
            write()
    monkeypatch.undo()
    assert [each.name for each in tmp_path.iterdir()] == ["old.html"] and (tmp_path / "old.html").read_text() == "old"


class _Full:
    """A file on a disk without room."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> _Full:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_system_without_links_works_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*paths: object) -> None:
        raise OSError(errno.EPERM, "no links")

    monkeypatch.setattr(os, "link", refused)
    assert [write_new(tmp_path, "a", "csv", text).read_text() for text in ("1", "2")] == ["1", "2"]
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a-2.csv", "a.csv"]
