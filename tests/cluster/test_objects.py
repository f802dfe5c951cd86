"""What files and folders hold: the same hash as the trainer's, read once, and never of a file that changes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from engine.cluster.node import contents
from engine.cluster.node.contents import Content, Hashes, Unfit, entries
from engine.cluster.node.objects import object_folder
from engine.cluster.objects import describe_local, look, name_of
from engine.errors import Refused
from engine.job.durable import folder_hash
from tests.cluster.apart import write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/c", "b-a", "b.x/d", "a ü", "b/a/z"):
        write(tmp_path / "model" / name, 1000)
    return tmp_path / "model"


def test_a_folder_has_the_hash_that_the_trainer_writes_down(folder: Path, tmp_path: Path) -> None:
    described = describe_local(str(folder), tmp_path / "hashes.json")
    assert described.sha256 == folder_hash(folder)
    assert described.size == 5000
    file = describe_local(str(folder / "b-a"), tmp_path / "hashes.json")
    assert file.sha256 == hashlib.sha256((folder / "b-a").read_bytes()).hexdigest()
    assert Content.from_document(described.document()) == described


def test_a_file_is_read_once_and_again_when_it_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "data.jsonl", tmp_path / "hashes.json"
    write(file, 1000)
    first = describe_local(str(file), cache)
    with monkeypatch.context() as patched:
        patched.setattr(contents.hashlib, "sha256", lambda *_: pytest.fail("it is read again"))
        assert Hashes(cache).of(file) == first.sha256
    before = file.stat()
    write(tmp_path / "new", 1000)
    (tmp_path / "new").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert describe_local(str(file), cache).sha256 != first.sha256


def test_a_file_that_was_written_just_now_is_not_taken_for_known(tmp_path: Path) -> None:
    file, cache = tmp_path / "data.jsonl", tmp_path / "hashes.json"
    file.write_text("one")
    describe_local(str(file), cache)
    assert not cache.exists()


def test_a_file_that_changes_while_it_is_hashed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "data.jsonl"
    write(file, 3 << 20)
    with pytest.raises(Refused, match=r"data.jsonl changed while it was read"):
        describe_local(str(file), tmp_path / "hashes.json", lambda _: os.truncate(file, 2 << 20))


def test_a_folder_that_gets_another_file_meanwhile_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"model changed while it was read"):
        describe_local(str(folder), tmp_path / "hashes.json", lambda _: (folder / "new").touch())


def test_a_link_to_nothing_is_refused_by_name(folder: Path) -> None:
    (folder / "lost").symlink_to(folder / "gone")
    with pytest.raises(Refused, match=r"model/lost is a link to nothing"):
        look(str(folder))


def test_what_has_the_same_stamp_is_the_same_files(folder: Path, tmp_path: Path) -> None:
    seen = look(str(folder))
    (tmp_path / "other way").symlink_to(folder)
    assert look(str(tmp_path / "other way")) == seen
    (folder / "b-a").write_bytes(b"x" * 1000)
    assert look(str(folder)) != seen
    assert look(str(tmp_path / "nothing")) is None
    assert [entry.path for entry in entries(folder)] == ["a ü", "b/a/z", "b/c", "b-a", "b.x/d"]


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".", "a\0b"])
def test_a_description_whose_paths_lead_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(Unfit, match="is no path below a folder"):
        Content.from_document({"sha256": "0" * 64, "folder": True, "files": [[path, 1, "0" * 64]]})


def test_an_object_is_kept_under_a_sha256_and_nothing_else() -> None:
    for bad in ("../../x", "", "A" * 64):
        with pytest.raises(Unfit):
            object_folder("/work", bad)


def test_names_keep_their_suffix_and_are_never_hidden() -> None:
    assert [name_of(path) for path in ("/x/a.jsonl.gz", "~/.hidden", "/")] == ["a.jsonl.gz", "hidden", "object"]
