"""Which checkpoint is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from engine.job import durable
from engine.job.folders import ALONE
from engine.train.checkpoints import Checkpoint, Checkpoints
from engine.train.completeness import COMPLETE


class Rank:
    """A rank alone, as far as a look for checkpoints asks others."""

    rank, is_folder_main, folders = 0, True, ALONE

    def from_all(self, value: Any) -> list[Any]:
        return [value]

    def barrier(self) -> None:
        pass


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    return Checkpoints(folder, cast(Any, Rank()), keep=2).newest()


def make(folder: Path, step: int) -> Path:
    """Write a checkpoint as `Checkpoints.save` leaves it."""
    checkpoint = folder / f"step-{step:08d}"
    (checkpoint / "deepspeed").mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    (checkpoint / "deepspeed" / "weights.pt").write_bytes(bytes(100))
    durable.write_json(checkpoint / COMPLETE, {"step": step, "files": {"state.json": 2, "deepspeed/weights.pt": 100}})
    return checkpoint


def truncate_weights(checkpoint: Path) -> None:
    (checkpoint / "deepspeed" / "weights.pt").write_bytes(bytes(99))


def remove_weights(checkpoint: Path) -> None:
    (checkpoint / "deepspeed" / "weights.pt").unlink()


def remove_complete(checkpoint: Path) -> None:
    (checkpoint / COMPLETE).unlink()


def garble_complete(checkpoint: Path) -> None:
    (checkpoint / COMPLETE).write_text('{"files": ')


def hollow_complete(checkpoint: Path) -> None:
    (checkpoint / COMPLETE).write_text("[]")


def test_the_newest_is_by_number_and_unfinished_ones_do_not_count(tmp_path: Path) -> None:
    make(tmp_path, 900)
    make(tmp_path, 100_000_000)
    make(tmp_path, 20).rename(tmp_path / ".tmp-step-00000020")
    found, problems = newest(tmp_path)
    assert found is not None
    assert (found.step, problems) == (100_000_000, [])


def test_an_empty_or_missing_folder_has_none(tmp_path: Path) -> None:
    assert newest(tmp_path / "checkpoints") == (None, [])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate_weights, "deepspeed/weights.pt has 99 bytes instead of 100"),
        (remove_weights, "deepspeed/weights.pt is missing"),
        (remove_complete, "no COMPLETE file"),
        (garble_complete, "COMPLETE file is damaged"),
        (hollow_complete, "COMPLETE file is damaged"),
    ],
)
def test_a_damaged_one_is_passed_over_and_named(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path, 10)
    damage(make(tmp_path, 20))
    found, problems = newest(tmp_path)
    assert found is not None
    assert found.step == 10
    assert len(problems) == 1
    assert "step-00000020" in problems[0]
    assert said in problems[0]


def test_replacing_leaves_the_new_folder_and_no_rubbish(tmp_path: Path) -> None:
    for content in ("old", "new"):
        new = tmp_path / ".tmp-export"
        new.mkdir()
        (new / "model").write_text(content)
        durable.replace_folder(new, tmp_path / "export")
    assert (tmp_path / "export" / "model").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
