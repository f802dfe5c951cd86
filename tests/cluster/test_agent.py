"""The node agent with real processes: what it starts, what it leaves behind, and that nothing outlives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.cluster import pushed
from engine.cluster.node.agent import ALREADY_STARTED, environment
from engine.cluster.node.archive import write_archive
from engine.cluster.node.processes import process_start

START_AGENT = [sys.executable, "-I", "-S"]


class Share:
    """A node's share of an attempt, in a folder."""

    def __init__(self, folder: Path, script: str, ranks: Sequence[int] = (0, 1), **more: Any) -> None:
        self.folder = folder
        job = {
            "node": 0,
            "nodes": 1,
            "world_size": 2,
            "ranks": [{"rank": rank, "local_rank": local} for local, rank in enumerate(ranks)],
            "master_address": "127.0.0.1",
            "master_port": 4321,
            "threads": None,
            "interface": None,
            "argv": [sys.executable, "-I", "-S", "-c", script],
            "cwd": str(folder),
            "env": {"GREETING": "hello"},
            **more,
        }
        (folder / "job.json").write_text(json.dumps(job))
        write_archive(folder / "agent.pyz", json.loads(pushed.sources()))

    def start(self) -> int:
        return subprocess.run(
            [*START_AGENT, str(self.folder / "agent.pyz"), str(self.folder)], check=False, timeout=30
        ).returncode

    @property
    def pid(self) -> int:
        return int(json.loads((self.folder / "agent.json").read_text())["pid"])

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def exit(self) -> dict[str, Any]:
        until((self.folder / "exit.json").exists)
        record: dict[str, Any] = json.loads((self.folder / "exit.json").read_text())
        return record

    def log(self, rank: int = 0) -> str:
        path = self.folder / f"rank-{rank}.log"
        return path.read_text() if path.exists() else ""


def until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Callable[..., Share]]:
    made: list[Share] = []

    def make(script: str, **more: Any) -> Share:
        made.append(Share(tmp_path, script, **more))
        return made[-1]

    yield make
    for share in made:
        if (share.folder / "agent.json").exists() and process_start(share.pid):
            os.kill(share.pid, signal.SIGTERM)


def test_ranks_get_deepspeeds_environment_and_their_own_logs(shared: Callable[..., Share]) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_SIZE CROSS_RANK MASTER_ADDR MASTER_PORT GLOO_SOCKET_IFNAME GREETING"
    share = shared(f"import os; print(*(os.environ[n] for n in {names.split()}))", ranks=[4, 5])
    assert share.start() == 0
    record = share.exit()
    assert (record["why"], record["first"], record["ranks"]) == ("ok", None, {"4": 0, "5": 0})
    assert share.log(4).split() == ["4", "0", "2", "2", "0", "127.0.0.1", "4321", "lo", "hello"]
    assert share.log(5).split()[:2] == ["5", "1"]


def test_threads_are_shared_among_the_ranks_unless_the_spec_says(shared: Callable[..., Share]) -> None:
    job = {"ranks": [{}, {}], "world_size": 2, "node": 0, "nodes": 1, "env": {}, "interface": None}
    job |= {"master_address": "127.0.0.1", "master_port": 1}
    rank = {"rank": 0, "local_rank": 0}
    cores = len(os.sched_getaffinity(0))
    assert environment(job | {"threads": None}, rank, {})["OMP_NUM_THREADS"] == str(max(1, cores // 2))
    assert environment(job | {"threads": 3}, rank, {"OMP_NUM_THREADS": "9"})["OMP_NUM_THREADS"] == "3"


def test_it_is_never_started_twice(shared: Callable[..., Share]) -> None:
    share = shared("import time; time.sleep(60)")
    assert share.start() == 0
    assert share.start() == ALREADY_STARTED
    share.signal(signal.SIGTERM)
    assert share.exit()["why"] == "stopped"
    assert share.start() == ALREADY_STARTED


def test_a_failing_rank_ends_the_others_and_is_named_with_its_last_words(shared: Callable[..., Share]) -> None:
    share = shared(
        "import os, time\n"
        "if os.environ['RANK'] == '1':\n"
        "  print('error: no memory'); raise SystemExit(3)\n"
        "time.sleep(60)"
    )
    share.start()
    record = share.exit()
    assert record["why"] == "rank_failed"
    assert (record["first"]["rank"], record["first"]["code"], record["first"]["signal"]) == (1, 3, None)
    assert record["first"]["tail"].strip() == "error: no memory"
    assert record["ranks"] == {"0": -signal.SIGTERM, "1": 3}


def test_a_killed_rank_is_told_by_its_signal(shared: Callable[..., Share]) -> None:
    share = shared("import os, time\nif os.environ['RANK'] == '0': os.kill(os.getpid(), 9)\ntime.sleep(60)")
    share.start()
    record = share.exit()
    assert (record["first"]["rank"], record["first"]["code"], record["first"]["signal"]) == (0, None, 9)


def test_a_program_that_is_not_there_is_a_failed_rank_with_a_sentence(shared: Callable[..., Share]) -> None:
    share = shared("", argv=["/no/such/python"])
    share.start()
    record = share.exit()
    assert record["why"] == "rank_failed"
    assert "/no/such/python cannot be started: No such file" in record["first"]["tail"]


def test_usr1_asks_for_a_checkpoint_and_130_is_its_answer(shared: Callable[..., Share]) -> None:
    share = shared(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(130))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.01)"
    )
    share.start()
    until(lambda: "ready" in share.log(0) and "ready" in share.log(1))
    share.signal(signal.SIGUSR1)
    assert share.exit()["why"] == "interrupted"


def test_ranks_that_ignore_term_are_killed_and_nothing_of_them_is_left(shared: Callable[..., Share]) -> None:
    share = shared(
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "apart = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid, apart.pid, flush=True)\n"
        "time.sleep(600)",
        ranks=[0],
    )
    share.start()
    until(lambda: len(share.log(0).split()) == 2)
    share.signal(signal.SIGTERM)
    record = share.exit()
    assert record["why"] == "stopped"
    assert record["ranks"] == {"0": -signal.SIGKILL}
    children = [int(word) for word in share.log(0).split()]
    until(lambda: not any(process_start(pid) for pid in children))


def test_when_the_agent_is_killed_its_ranks_die_and_there_is_no_record(shared: Callable[..., Share]) -> None:
    share = shared("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    share.start()
    until(lambda: bool(share.log(0).strip() and share.log(1).strip()))
    share.signal(signal.SIGKILL)
    until(lambda: not any(process_start(int(share.log(rank))) for rank in (0, 1)))
    assert not (share.folder / "exit.json").exists()


def test_the_heartbeat_names_who_lives(shared: Callable[..., Share]) -> None:
    share = shared("import os, time\nif os.environ['RANK'] == '1': raise SystemExit(0)\ntime.sleep(60)")
    share.start()

    def beat() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((share.folder / "heartbeat.json").read_text())
        return found

    until(lambda: (share.folder / "heartbeat.json").exists() and "1" in beat()["ended"])
    assert list(beat()["alive"]) == ["0"]
    assert abs(beat()["time"] - time.time()) < 30


def test_a_process_that_is_gone_or_only_a_zombie_has_no_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: process_start(child.pid) is None)  # a zombie: nobody has waited for it
    child.wait()
    assert process_start(child.pid) is None
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None
