"""A kill at any moment leaves a checkpoint that all ranks can load; ranks that cannot are told why.

The ranks are threads on the real files; the networks are a few bytes each.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.errors import Refused
from engine.job import durable
from engine.job.folders import Folders, learned
from engine.train.checkpoints import Checkpoint, Checkpoints, TrainState

SHARED, APART = Folders((0, 0, 0), ("a", "b", "c")), Folders((0, 0, 2), ("a", "a", "b"))
WORLD = 3


class Killed(BaseException):
    """What ends a rank."""


@dataclass
class Meeting:
    """Where the ranks of one attempt wait for each other."""

    world: int = WORLD
    barrier: threading.Barrier = field(init=False)
    values: list[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.barrier, self.values = threading.Barrier(self.world), [None] * self.world


@dataclass(frozen=True)
class Rank:
    """What the code under test uses of `Runtime`."""

    meeting: Meeting
    rank: int
    folders: Folders

    world_size = property(lambda self: self.meeting.world)
    is_main = property(lambda self: self.rank == 0)
    is_folder_main = property(lambda self: self.folders.mains[self.rank] == self.rank)

    def barrier(self) -> None:
        self.meeting.barrier.wait(30)

    def from_all(self, value: Any) -> list[Any]:
        self.meeting.values[self.rank] = value
        self.barrier()
        values = list(self.meeting.values)
        self.barrier()
        return values

    def from_main(self, value: Any) -> Any:
        return self.from_all(value)[0]

    def tensors_from_main(self, tensors: Mapping[str, Any], *, keeps: bool) -> dict[str, Any]:
        return dict(tensors) if keeps else {}


class Engine:
    """What the code under test uses of a DeepSpeed engine, under ZeRO 2."""

    module = type("Module", (), {"parameters": list})

    def __init__(self, rank: int, content: str) -> None:
        self.rank, self.content, self.save_non_zero_checkpoint = rank, content, rank == 0

    def zero_nvme_offload_optimizer(self) -> bool:
        return False

    def zero_optimization_stage(self) -> int:
        return 2

    def save_checkpoint(self, folder: str, tag: str, **_: Any) -> None:
        target = Path(folder, tag)
        target.mkdir(exist_ok=True)
        for name in ["model.pt"] * self.save_non_zero_checkpoint + [f"shard-{self.rank}.pt"]:
            (target / name).write_text(self.content)
            durable.sync(target / name)


def run_dir(root: Path, rank: Rank) -> Path:
    return root / f"run-{rank.folders.mains[rank.rank]}"


def together(folders: Folders, act: Callable[[Rank], Any]) -> list[Any]:
    """Let all ranks of an attempt act; return what each comes to, or what it raises."""
    meeting = Meeting(len(folders.mains))

    def one(number: int) -> Any:
        try:
            return act(Rank(meeting, number, folders))
        except Refused as error:  # all ranks alike
            return error
        except BaseException as error:
            meeting.barrier.abort()
            return error

    with ThreadPoolExecutor(meeting.world) as pool:
        return list(pool.map(one, range(meeting.world)))


def checkpoints(root: Path, rank: Any, keep: int = 1) -> Checkpoints:
    return Checkpoints(run_dir(root, rank) / "checkpoints", rank, keep=keep)


def save(root: Path, rank: Any, *steps: int, attempt: int = 1, keep: int = 1, stage: int = 2) -> None:
    for step in steps:
        engine = Engine(rank.rank, f"step {step} of attempt {attempt}")
        stages = {"model": stage}
        state = TrainState(step, 0, 0, 1, 0, rank.world_size, stages, "fp32")
        checkpoints(root, rank, keep).save({"model": engine}, state, {})


def newest(root: Path, folders: Folders) -> list[Any]:
    return together(folders, lambda rank: checkpoints(root, rank).newest())


def step_of(found: list[Any]) -> int:
    """Return the step that all ranks go on from, 0 for none; what they would load was saved together."""
    steps, contents = set(), set()
    for rank, outcome in enumerate(found):
        assert isinstance(outcome, tuple), outcome
        checkpoint: Checkpoint | None = outcome[0]
        steps.add(0 if checkpoint is None else checkpoint.step)
        for name in ("model.pt", f"shard-{rank}.pt") if checkpoint is not None else ():
            contents.add((checkpoint.folder / "model" / name).read_text())
    (step,) = steps
    assert len(contents) == (step > 0), contents
    return step


@dataclass
class Death:
    """Kills a rank before its `count`th effect on files, and if `all_die` the others before their next one."""

    rank: int
    count: int
    all_die: bool
    happened: bool = False
    effects: dict[int, int] = field(default_factory=dict)
    ranks: threading.local = field(default_factory=threading.local)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            rank = getattr(self.ranks, "rank", None)
            if rank is not None:
                self.effects[rank] = self.effects.get(rank, 0) + 1
                if (rank == self.rank and self.effects[rank] == self.count) or (self.happened and self.all_die):
                    self.happened = True
                    if function is shutil.rmtree:  # half removed
                        next((file for file in Path(arguments[0]).rglob("*.pt")), Path("none")).unlink(missing_ok=True)
                    raise Killed
            return function(*arguments, **named)

        return wrapped


@pytest.mark.parametrize(
    ("folders", "start", "all_die"),
    [
        pytest.param(APART, "nothing", True, id="apart: the first one"),
        pytest.param(APART, "one", False, id="apart: the second one, others run on"),
        pytest.param(APART, "damaged", True, id="apart: over a damaged one"),
        pytest.param(SHARED, "damaged", False, id="shared: over a damaged one"),
    ],
)
def test_a_kill_before_any_effect_leaves_what_all_ranks_can_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folders: Folders, start: str, all_die: bool
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    before = {"nothing": 0, "one": 2, "damaged": 1}[start]
    for rank in {0, folders.mains[-1]}:
        for count in itertools.count(1):
            root, death = tmp_path / f"{rank}-{count}", Death(rank, count, all_die)
            _prepare(root, folders, start)
            with monkeypatch.context() as patched:
                for owner, name in ((os, "fsync"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree")):
                    patched.setattr(owner, name, death.before(getattr(owner, name)))
                together(folders, lambda rank, root=root, death=death: _dying(root, rank, death))
            found = step_of(newest(root, folders))
            assert found in (before, 3), count
            if not death.happened:
                assert found == 3
                break
            assert together(folders, lambda rank, root=root: save(root, rank, 3, 4, attempt=3)) == [None] * WORLD
            assert step_of(newest(root, folders)) == 4
            left = [path.name for path in root.glob("run-*/checkpoints/*")]
            assert left == ["step-00000004"] * len(set(folders.mains))
        assert count > 8


def _prepare(root: Path, folders: Folders, start: str) -> None:
    """Write what the run that is killed finds."""
    if start == "one":
        together(folders, lambda rank: save(root, rank, 2))
    elif start == "damaged":
        together(folders, lambda rank: save(root, rank, 1, 3, keep=2))
        (root / f"run-{folders.mains[-1]}/checkpoints/step-00000003/model/shard-{WORLD - 1}.pt").unlink()


def _dying(root: Path, rank: Rank, death: Death) -> None:
    death.ranks.rank = rank.rank
    checkpoints(root, rank).newest()
    save(root, rank, 3, attempt=2)


def test_what_some_node_has_damaged_is_named_and_passed_over(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1, 2, 3, keep=3))
    os.truncate(tmp_path / "run-2/checkpoints/step-00000003/model/shard-2.pt", 3)
    shutil.rmtree(tmp_path / "run-0/checkpoints/step-00000002")
    found = newest(tmp_path, APART)
    assert step_of(found) == 1
    told = [
        "checkpoint step-00000003 is ignored: model/shard-2.pt has 3 bytes instead of 19 on b (rank 2).",
        "checkpoint step-00000002 is ignored: it is missing on a (ranks 0-1).",
    ]
    assert [problems for _, problems in found] == [told] * WORLD


def test_a_rollback_goes_to_what_all_nodes_have(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1, 2, 3, keep=3))
    (tmp_path / "run-2/checkpoints/step-00000002/rank-2.pt").unlink()
    found = together(APART, lambda rank: checkpoints(tmp_path, rank).before(3, floor=0))
    assert [checkpoint.step for checkpoint in found] == [1] * WORLD
    assert together(APART, lambda rank: checkpoints(tmp_path, rank).before(3, floor=2)) == [None] * WORLD


def test_parts_that_were_not_saved_together_do_not_count(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path / "other", rank, 1, 2, keep=2))
    together(APART, lambda rank: save(tmp_path, rank, 1, 2, keep=2))
    shutil.rmtree(tmp_path / "run-2/checkpoints/step-00000002")
    shutil.copytree(tmp_path / "other/run-2/checkpoints/step-00000002", tmp_path / "run-2/checkpoints/step-00000002")
    found = newest(tmp_path, APART)
    assert step_of(found) == 1
    assert found[0][1] == ["checkpoint step-00000002 is ignored: its parts were not saved together."]


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (Folders((0, 1, 1), ("a", "b", "b")), "and b (ranks 1-2) cannot see what is needed of it."),
        (Folders((0, 0), ("a", "a")), "so it cannot go on with 2 ranks."),
        (Folders((0, 0, 0), ("a", "a", "a")), "and a (ranks 0-2) cannot see what is needed of it."),
        (Folders((0, 0, 2, 3), ("a", "a", "b", "c")), "so it cannot go on with 4 ranks."),
    ],
    ids=["placed otherwise", "one node less", "a shared folder of one node's", "one node more"],
)
def test_ranks_that_would_not_find_their_parts_are_refused(tmp_path: Path, now: Folders, said: str) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1))
    if now.mains[-1] == 1:
        (tmp_path / "run-2").rename(tmp_path / "run-1")
    for error in newest(tmp_path, now):
        assert isinstance(error, Refused)
        assert error.message == f"checkpoint step-00000001 is split over a (ranks 0-1) and b (rank 2), {said}"


def test_a_node_that_lost_its_only_checkpoint_does_not_begin_anew(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1))
    shutil.rmtree(tmp_path / "run-2")
    assert all("b (rank 2) cannot see" in str(error) for error in newest(tmp_path, APART))
    together(SHARED, lambda rank: save(tmp_path / "shared", rank, 1))
    assert all("lies on a (ranks 0-2) only, and b (rank 2)" in str(e) for e in newest(tmp_path / "shared", APART))


def test_parts_copied_into_one_folder_serve_any_number_of_ranks(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1))
    shutil.copytree(tmp_path / "run-2", tmp_path / "run-0", dirs_exist_ok=True)
    for world in (1, 3, 4):
        assert step_of(newest(tmp_path, Folders((0,) * world, ("c",) * world))[:WORLD]) == 1


def test_networks_that_each_node_has_whole_go_on_with_fewer_nodes(tmp_path: Path) -> None:
    together(APART, lambda rank: save(tmp_path, rank, 1, stage=0))
    found = newest(tmp_path, Folders((0, 0), ("a", "a")))
    assert [checkpoint.step for checkpoint, _ in found] == [1, 1]


def test_ranks_learn_who_sees_the_same_run_directory(tmp_path: Path) -> None:
    def look(rank: Any) -> Folders:
        folder = tmp_path / ("one" if rank.rank in (0, 2) else "other")
        folder.mkdir(exist_ok=True)
        return learned(folder, rank).folders

    for folders in together(SHARED, look):
        assert folders.mains == (0, 1, 0)
        assert [place.ranks for place in folders.by_main().values()] == [(0, 2), (1,)]
    assert not list(tmp_path.glob("*/.*"))
