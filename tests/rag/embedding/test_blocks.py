"""Blocks: nothing that was embedded is embedded again, whatever happens to the process or the file."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import RunFailed
from engine.rag.embedding.blocks import Block, block_key, embed_blocks, is_begun
from tests.rag.block_ground import SIZE, TEXTS, Counting

EXPECTED = Counting().vectors(np.arange(len(TEXTS)))
KEY = block_key(TEXTS, Counting())


def embed(encoder: Counting, folder: Path, batches: int | None = None) -> Block | None:
    """Embed the block of TEXTS, stopping after so many batches."""
    told: list[tuple[int, int]] = []
    blocks = list(
        embed_blocks(
            encoder,
            [(KEY, TEXTS)],
            folder,
            told=lambda texts, tokens: told.append((texts, tokens)),
            stop=lambda: batches is not None and len(told) >= batches,
        )
    )
    assert sum(texts for texts, _ in told) == len(encoder.embedded)
    assert all(tokens == 3 * texts for texts, tokens in told)
    return blocks[0] if blocks else None


@pytest.mark.parametrize("depth", [0, 3])
def test_killed_again_and_again_and_on_a_full_disk_a_block_ends_with_the_same_bits(depth: int, tmp_path: Path) -> None:
    kills = 25
    folder = tmp_path / "blocks"
    folder.mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "tests.rag.block_ground", str(folder), str(kills), str(depth)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"full": 9}
    sentence = (tmp_path / "sentence").read_text()
    assert "cannot be written: File too large. Free some space" in sentence and "\n" not in sentence
    assert np.array_equal(np.load(folder / f"{KEY}.npy", allow_pickle=False), EXPECTED)
    assert sorted(path.name for path in folder.iterdir()) == [f"{KEY}.npy", "log"]
    batches = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    again = Counter(text for batch in batches for text in batch)
    assert set(again) == set(range(len(TEXTS)))
    # Each end may have come between the embedding of a batch and its record, and of so many more as a thread is ahead.
    in_flight = depth + 1
    assert sum(count - 1 for count in again.values()) <= (kills + 1) * SIZE * in_flight
    for text, count in again.items():
        numbers = [number for number, batch in enumerate(batches) if text in batch]
        # Nothing older is done twice.
        assert numbers[-1] - numbers[0] <= (count - 1) * in_flight


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A part file after ten batches."""
    folder = tmp_path_factory.mktemp("begun")
    assert embed(Counting(), folder, batches=10) is None
    assert is_begun(folder, KEY) and not (folder / f"{KEY}.npy").exists()
    return (folder / f"{KEY}.part").read_bytes()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_of_a_torn_or_damaged_part_the_whole_batches_are_kept(
    tmp_path: Path, begun: bytes, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(begun) - 1))
    kind = data.draw(st.sampled_from(["torn", "flipped", "zeros", "junk"]))
    kept = begun[:place]
    if kind == "flipped":
        kept += bytes([begun[place] ^ data.draw(st.integers(1, 255))]) + begun[place + 1 :]
    elif kind == "zeros":  # a file system that kept the length and not the content
        kept += bytes(len(begun) - place)
    elif kind == "junk":
        kept += data.draw(st.binary(max_size=200))
    folder = tmp_path / "folder"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / f"{KEY}.part").write_bytes(kept)
    encoder = Counting()
    block = embed(encoder, folder)
    whole = place * 10 // len(begun)  # all records are of one size
    assert block is not None and np.array_equal(np.load(block.file), EXPECTED)
    assert block.embedded == len(encoder.embedded) == len(set(encoder.embedded)) == len(TEXTS) - SIZE * whole
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.npy"]


def test_a_block_that_is_there_is_not_embedded_again_unless_it_is_damaged(tmp_path: Path) -> None:
    encoder = Counting()
    first = embed(encoder, tmp_path)
    assert first is not None and embed(Counting(), tmp_path) == Block(KEY, first.file, (), len(TEXTS), 0)
    whole = first.file.read_bytes()
    for harmed in (whole[:-1], b"", b"no array", whole.replace(b"<f4", b"<i4")):
        first.file.write_bytes(harmed)
        made = embed(Counting(), tmp_path)
        assert made is not None and made.embedded == len(TEXTS) and first.file.read_bytes() == whole


def test_texts_without_a_direction_are_told_by_number(tmp_path: Path) -> None:
    for _ in range(2):  # as it is made, and as it is found
        block = embed(Counting(poisoned=frozenset({3, 200})), tmp_path)
        assert block is not None and block.problems == (3, 200)
    assert np.isnan(np.load(block.file)[200]).all()


def test_another_batch_size_goes_on_where_the_first_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Counting()
    assert embed(first, tmp_path, batches=4) is None
    monkeypatch.setattr("tests.rag.block_ground.SIZE", 100)
    second = Counting()
    block = embed(second, tmp_path)
    assert block is not None and np.array_equal(np.load(block.file), EXPECTED)
    assert sorted(first.embedded + second.embedded) == list(range(len(TEXTS)))


def test_two_processes_do_not_write_one_block(tmp_path: Path) -> None:
    with (tmp_path / f"{KEY}.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RunFailed, match="another process"):
            embed(Counting(), tmp_path)
    assert embed(Counting(), tmp_path) is not None


def test_a_disk_that_fills_up_at_the_end_leaves_the_part_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(RunFailed, match="No space left on device") as caught:
        patched.setattr(np, "save", full)
        embed(Counting(), tmp_path)
    assert caught.value.hint and caught.value.where == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f"{KEY}.part"]
    block = embed(Counting(), tmp_path)
    assert block is not None and block.embedded == 0 and np.array_equal(np.load(block.file), EXPECTED)


def test_the_key_tells_texts_embedder_and_precision_apart() -> None:
    keys = [
        block_key(texts, Counting(fingerprint=fingerprint, precision=precision))
        for texts in ([], ["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"], ["\ud800"], ["\ud801"])
        for fingerprint, precision in (("one", "fp32"), ("one", "bf16"), ("other", "fp32"))
    ]
    assert len(set(keys)) == len(keys)


def test_who_asks_to_stop_at_the_last_batch_of_a_block_gets_it_and_none_after_it(tmp_path: Path) -> None:
    encoder = Counting()
    wanted = iter([("one", TEXTS[:SIZE]), ("two", TEXTS), ("three", TEXTS)])
    (block,) = embed_blocks(encoder, wanted, tmp_path, told=lambda *_: None, stop=lambda: True)
    assert (block.key, block.embedded, len(encoder.embedded)) == ("one", SIZE, SIZE)
    assert not (tmp_path / "two.part").exists() and next(wanted)[0] == "three"


def test_what_a_thread_has_embedded_by_the_time_of_a_stop_is_kept(tmp_path: Path) -> None:
    first, second = Counting(ahead=4, pause=0.001), Counting(ahead=4)
    assert embed(first, tmp_path, batches=10) is None and len(first.embedded) >= 10 * SIZE
    block = embed(second, tmp_path)
    assert block is not None and np.array_equal(np.load(block.file), EXPECTED)
    assert sorted(first.embedded + second.embedded) == list(range(len(TEXTS)))


@pytest.mark.parametrize("depth", [0, 3])
def test_blocks_that_are_there_begun_or_empty_come_in_their_order(depth: int, tmp_path: Path) -> None:
    texts = {"there": TEXTS[:20], "begun": TEXTS, "empty": [], "new": TEXTS[100:150]}
    assert [one.key for one in every(Counting(), {"there": texts["there"]}, tmp_path)] == ["there"]
    stopped = every(Counting(), {"begun": texts["begun"]}, tmp_path, stop=lambda: True)
    assert stopped == [] and is_begun(tmp_path, "begun")
    blocks = every(Counting(ahead=depth), texts, tmp_path)
    assert [(one.key, one.texts, one.embedded) for one in blocks] == [
        ("there", 20, 0),
        ("begun", len(TEXTS), len(TEXTS) - SIZE),
        ("empty", 0, 0),
        ("new", 50, 50),
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{key}.npy" for key in texts)
    assert np.load(blocks[2].file).shape == (0, Counting.dimension)
    assert np.array_equal(np.load(blocks[1].file), EXPECTED)


def every(
    encoder: Counting, texts: dict[str, list[str]], folder: Path, stop: Callable[[], bool] = lambda: False
) -> list[Block]:
    """The blocks of texts."""
    return list(embed_blocks(encoder, texts.items(), folder, told=lambda *_: None, stop=stop))


def test_a_fault_of_the_embedder_ends_it_with_all_that_was_embedded_before(tmp_path: Path) -> None:
    class Faulty(Counting):
        def note(self, rows: NDArray[np.int64]) -> None:
            if len(self.embedded) == 5 * SIZE:
                raise MemoryError("of the device")
            super().note(rows)

    with pytest.raises(MemoryError, match="of the device"):
        embed(Faulty(ahead=2), tmp_path)
    block = embed(Counting(), tmp_path)
    assert block is not None and block.embedded == len(TEXTS) - 5 * SIZE
