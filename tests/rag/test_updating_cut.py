"""A change of an index that is killed, cut off or out of disk changes nothing, or is ended by the next one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engine.errors import RunFailed
from engine.rag.manifest import FILE, belonging, read_manifest, verify
from engine.rag.opening import open_searcher
from engine.rag.updating import update
from tests.rag import update_ground
from tests.rag.making import found, make_index, spec_of, write_rows

if TYPE_CHECKING:
    from engine.rag.embedding.embedder import Encoder

from tests.rag.update_documents import QUERIES, base_documents, text

# ---- killed


def test_killed_again_and_again_an_update_embeds_no_text_twice_and_ends_as_if_never_killed(tmp_path: Path) -> None:
    kills = 4
    ran = subprocess.run(
        [sys.executable, "-m", "tests.rag.update_ground", str(tmp_path), str(kills)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    batches = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    again = Counter(text for batch in batches for text in batch)
    assert len(again) == told["whole"] > 100 and told["last"] < told["whole"] / 2
    # A kill may come between the embedding of a batch and its record.
    assert sum(count - 1 for count in again.values()) <= kills * update_ground.SIZE
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    assert (killed / FILE).read_bytes() == (whole / FILE).read_bytes()
    assert verify(killed) == [] and not (killed / ".blocks").exists()


# ---- cut off


class Cut(BaseException):
    """The process is gone: from here on nothing is written."""


class Effects:
    """Counts what changes files below a folder, and cuts off at one of them and all after."""

    def __init__(self) -> None:
        self.folder = ""
        self.count = self.limit = 0
        sys.addaudithook(self._hook)

    def run(self, folder: Path, limit: int, action: Callable[[], Any]) -> bool:
        """Carry out an action up to an effect; return whether it came to its end."""
        self.folder, self.count, self.limit = str(folder), 0, limit
        try:
            action()
        except Cut:
            return False
        finally:
            self.folder = ""
        return True

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or not self._changes(event, arguments):
            return
        self.count += 1
        if self.count >= self.limit:
            raise Cut

    def _changes(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "open":
            path, _, flags = arguments
            return str(path).startswith(self.folder) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        paths = (str(each) for each in arguments)
        return event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir") and any(
            path.startswith(self.folder) or not path.startswith("/") for path in paths
        )


@pytest.fixture(scope="module")
def effects() -> Iterator[Effects]:
    made = Effects()
    yield made
    made.folder = ""


@pytest.mark.parametrize("kind", ["compacting", "vectors"])
def test_cut_off_anywhere_it_is_the_old_index_or_the_new_one_and_the_next_update_ends_it(  # noqa: PLR0917
    kind: str, tmp_path: Path, encoder: Encoder, tiny_embedder: Path, loaded: list[str], effects: Effects
) -> None:
    vectors = kind == "vectors"
    spec = spec_of(write_rows(tmp_path / "a.jsonl", base_documents(4)), tiny_embedder if vectors else None)
    old = make_index(tmp_path / "old", spec, encoder if vectors else None)
    new = write_rows(tmp_path / "b.jsonl", {"d2": text(1002), "new": text(1003)})

    def change(index: Path, remove: tuple[str, ...] = ("d0",)) -> None:
        update(index, add=new, remove=remove, compact=kind == "compacting")

    whole = shutil.copytree(old, tmp_path / "whole")
    change(whole)
    states = [found(open_searcher(index), QUERIES) for index in (old, whole)]
    seen, limit, ended = set(), 0, False
    while not ended:
        limit += 3 if vectors else 1
        index = shutil.copytree(old, tmp_path / f"cut-{limit}")
        ended = effects.run(index, limit, lambda index=index: change(index))  # type: ignore[misc]
        assert verify(index) == []
        state = found(open_searcher(index), QUERIES)
        assert state in states
        seen.add(states.index(state))
        change(index, () if state == states[1] else ("d0",))
        assert found(open_searcher(index), QUERIES) == states[1]
        belong = {path.relative_to(index).parts[0] for path in belonging(index, read_manifest(index))}
        assert {path.name for path in index.iterdir()} == belong | {FILE, "plumbline.json", ".lock"}
        shutil.rmtree(index)
    assert seen == {0, 1} and limit > 15


def test_a_full_disk_is_one_sentence_and_the_index_is_as_it_was(
    words: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = found(open_searcher(words), QUERIES)
    real = np.save

    def full(file: Any, values: Any, **more: Any) -> None:
        if "removed" in str(file):
            raise OSError(28, os.strerror(28), str(file))
        real(file, values, **more)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(RunFailed, match="No space left on device while changing the index"):
        update(words, remove=["d1"])
    assert found(open_searcher(words), QUERIES) == before and verify(words) == []
