"""Slot leases with real processes: whoever holds one is named, and it is free when the last process is dead."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.node import leases
from engine.cluster.node.processes import process_start
from tests.cluster.node_share import Share, until

SLEEP = "import time; time.sleep(600)"
# A rank that leaves a process behind which holds what it inherited.
LEAVES_A_CHILD = """
import os, time
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    time.sleep(600)
time.sleep(600)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(leases.FOLDER_VARIABLE, str(tmp_path / "leases"))
    return tmp_path / "leases"


@pytest.fixture
def agent(tmp_path: Path, folder: Path) -> Iterator[Callable[..., Share]]:
    made: list[Share] = []

    def make(experiment: str, slots: list[int], script: str = SLEEP, **more: Any) -> Share:
        holder = {"experiment": experiment, "database": "/home/ada/experiments.db", "user": "ada"}
        job = {"leases": True, "slot_numbers": slots, "holder": holder, "ranks": list(range(len(slots)))}
        made.append(Share(tmp_path, script, at=experiment, **{**job, **more}))
        assert made[-1].start() == 0
        return made[-1]

    yield make
    for share in made:
        share.end()


def test_a_second_agent_is_told_who_holds_the_slot_and_starts_nothing(agent: Callable[..., Share]) -> None:
    first = agent("sft-0001", [2, 3])
    second = agent("ppo-0002", [3, 4])
    record = second.exit()
    assert (record["why"], list(record["taken"])) == ("slots_taken", ["3"])
    holder = record["taken"]["3"]
    assert (holder["experiment"], holder["user"], holder["pid"]) == ("sft-0001", "ada", first.pid)
    assert holder["host"] and holder["since"] and holder["share"] is False
    assert not (second.folder / "agent.json").exists() and second.log() == ""
    assert list(leases.standing()) == [2, 3]  # all or nothing: slot 4 is free


def test_leases_are_free_as_soon_as_the_record_is_there(agent: Callable[..., Share]) -> None:
    first = agent("sft-0001", [0, 1])
    first.signal(signal.SIGTERM)
    first.exit()
    assert leases.standing() == {}
    assert agent("sft-0002", [0, 1]).beat()["ranks"]["1"]["slot"] == 1


def test_a_lease_is_free_only_when_the_last_process_is_dead(agent: Callable[..., Share]) -> None:
    share = agent("sft-0001", [7], LEAVES_A_CHILD)
    until(lambda: share.log().strip() != "")
    child, undertaker = int(share.log()), share.undertaker
    os.kill(undertaker, signal.SIGSTOP)
    share.signal(signal.SIGKILL)
    os.kill(undertaker, signal.SIGKILL)
    until(lambda: not any(process_start(pid) for pid in (share.pid, undertaker)))
    assert process_start(child) and leases.standing()[7]["experiment"] == "sft-0001"
    os.kill(child, signal.SIGKILL)
    until(lambda: leases.standing() == {})


def test_while_an_agent_is_killed_its_slots_are_held_until_nothing_is_left(agent: Callable[..., Share]) -> None:
    share = agent("sft-0001", [7], LEAVES_A_CHILD)
    until(lambda: share.log().strip() != "")
    share.signal(signal.SIGKILL)
    share.exit()
    assert leases.standing() == {} and process_start(int(share.log())) is None


def test_slots_are_shared_only_by_those_who_say_so(agent: Callable[..., Share]) -> None:
    first = agent("sft-0001", [0], share=True)
    second = agent("sft-0002", [0], share=True)
    third = agent("sft-0003", [0])
    assert third.exit()["taken"]["0"]["experiment"] == "sft-0002"
    second.signal(signal.SIGTERM)
    second.exit()
    until(lambda: process_start(second.pid) is None)
    held = leases.standing()[0]
    assert (held["experiment"], held["share"], held["pid"]) == ("sft-0001", True, first.pid)


def test_looking_at_slots_does_not_keep_others_from_taking_them(folder: Path) -> None:
    leases.release(leases.take([0])[0])
    looker = subprocess.Popen(
        [sys.executable, "-c", "from engine.cluster.node.leases import standing\nwhile True: standing()"]
    )
    try:
        for _ in range(200):
            descriptors, taken = leases.take([0])
            assert not taken
            leases.release(descriptors)
    finally:
        looker.kill()
        looker.wait()


def test_a_file_that_was_removed_under_its_lease_is_not_taken_for_it(folder: Path) -> None:
    held, _ = leases.take([0])
    (folder / "slot-0").unlink()
    again, taken = leases.take([0])
    assert not taken and os.fstat(again[0]).st_ino == (folder / "slot-0").stat().st_ino
    leases.release(held)
    leases.release(again)


def test_all_users_may_use_the_folder_and_a_link_in_it_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        leases.release(leases.take([0])[0])
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert stat.S_IMODE((folder / "slot-0").stat().st_mode) == 0o666
    (tmp_path / "precious").write_text("precious")
    (folder / "slot-1").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        leases.take([1])
    assert (tmp_path / "precious").read_text() == "precious"


def test_leases_that_cannot_be_taken_are_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(leases.FOLDER_VARIABLE, str(tmp_path / "file"))
    share = Share(tmp_path, SLEEP, at="run", leases=True)
    assert share.start() == 0
    record = share.exit()
    assert record["why"] == "rank_failed"
    assert record["first"]["tail"].startswith("error: the agent could not start: ")
