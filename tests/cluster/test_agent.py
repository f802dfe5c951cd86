"""The node agent with real processes: what it starts, what it leaves behind, and that nothing outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.node.agent import ALREADY_STARTED
from engine.cluster.node.processes import process_start
from engine.cluster.node.rank_environment import environment, visible_devices
from engine.cluster.node.remains import Traces
from engine.cluster.node.sweeping import sweep
from engine.telemetry import progress
from tests.cluster.node_share import START_AGENT, Share, until

# A rank with children of every kind that may outlive it: in its session, in one of their own, without its
# environment, and orphaned in a session of its own without environment and output.
FAMILY = """
import os, subprocess, sys, time
sleep = [sys.executable, '-I', '-S', '-c', 'import time; time.sleep(600)']
pids = [os.getpid(), subprocess.Popen(sleep).pid, subprocess.Popen(sleep, start_new_session=True).pid]
pids.append(subprocess.Popen(sleep, start_new_session=True, env={}).pid)
ends = os.pipe()
if os.fork() == 0:
    nowhere = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.write(ends[1], b'%d' % subprocess.Popen(sleep, start_new_session=True, env={}, **nowhere).pid)
    os._exit(0)
pids.append(int(os.read(ends[0], 99)))
os.wait()
print(*pids, flush=True)
time.sleep(600)
"""


def family(share: Share) -> list[int]:
    """Return the processes of FAMILY, once they are there."""
    until(lambda: len(share.log(0).split()) == 5)
    pids = [int(word) for word in share.log(0).split()]
    assert all(process_start(pid) for pid in pids)
    return pids


def living(pids: list[int]) -> list[int]:
    return [pid for pid in pids if process_start(pid)]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Callable[..., Share]]:
    made: list[Share] = []

    def make(script: str, **more: Any) -> Share:
        made.append(Share(tmp_path, script, **more))
        return made[-1]

    yield make
    for share in made:
        share.end()


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
    share = shared("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FAMILY, ranks=[0])
    share.start()
    pids, undertaker = family(share), share.undertaker
    share.signal(signal.SIGTERM)
    record = share.exit()
    assert not living(pids)
    assert (record["why"], record["ranks"]) == ("stopped", {"0": -signal.SIGKILL})
    until(lambda: not living([undertaker, share.pid]))
    assert share.exit()["why"] == "stopped"


def test_what_a_rank_left_behind_ends_with_the_run(shared: Callable[..., Share]) -> None:
    share = shared(FAMILY.replace("time.sleep(600)\n", "\n"), ranks=[0])
    share.start()
    assert share.exit()["why"] == "ok"
    pids = [int(word) for word in share.log(0).split()]
    assert len(pids) == 5 and not living(pids)


def test_when_the_agent_is_killed_nothing_is_left_and_the_record_says_so(shared: Callable[..., Share]) -> None:
    share = shared(FAMILY, ranks=[0])
    share.start()
    pids = family(share)
    share.signal(signal.SIGKILL)
    record = share.exit()
    assert not living(pids)
    assert (record["why"], record["first"]) == ("agent_killed", None)
    assert record["killed"] >= 4


def test_an_undertaker_that_is_killed_is_replaced(shared: Callable[..., Share]) -> None:
    share = shared(FAMILY, ranks=[0])
    share.start()
    pids, first = family(share), share.undertaker
    os.kill(first, signal.SIGKILL)
    until(lambda: share.undertaker != first)
    second = share.undertaker
    assert process_start(second) and living(pids) == pids
    share.signal(signal.SIGKILL)
    assert share.exit()["why"] == "agent_killed"
    # The orphan without environment and output is known by its parents alone, which went with the first undertaker.
    assert not living(pids[:-1])
    for pid in living(pids[-1:]):
        os.kill(pid, signal.SIGKILL)


def test_when_agent_and_undertaker_are_killed_a_sweep_ends_what_is_left(shared: Callable[..., Share]) -> None:
    share = shared(FAMILY, ranks=[0], at="attempt-1/node-0")
    share.start()
    pids, undertaker = family(share), share.undertaker
    os.kill(undertaker, signal.SIGSTOP)  # it must not have its say between the two
    share.signal(signal.SIGKILL)
    os.kill(undertaker, signal.SIGKILL)
    until(lambda: not living([undertaker, share.pid, pids[0]]))
    assert living(pids[1:4]) == pids[1:4]
    where = {"run_dir": str(share.folder.parent.parent), "attempt": 1, "node": 0}
    assert sweep(None, **where) == {"killed": 3, "left": 0}
    assert not living(pids[:4])
    assert share.exit()["why"] == "agent_killed"
    assert sweep(None, **where) == {"killed": 0, "left": 0}
    os.kill(pids[4], signal.SIGKILL)


def test_a_sweep_ends_an_agent_that_does_not_listen_and_no_other_run(shared: Callable[..., Share]) -> None:
    frozen = shared(FAMILY, ranks=[0], at="attempt-1/node-0")
    other = shared("import time; time.sleep(600)", ranks=[0], at="attempt-1/node-1")
    frozen.start()
    other.start()
    pids = family(frozen)
    frozen.signal(signal.SIGSTOP)
    swept = sweep(None, run_dir=str(frozen.folder.parent.parent), attempt=1, node=0)
    assert swept["left"] == 0 and not living([*pids, frozen.pid])
    assert frozen.exit()["why"] == "agent_killed"
    assert process_start(other.pid) and list(other.beat()["ranks"]) == ["0"]


def test_a_number_that_was_a_session_of_the_attempt_once_is_no_trace(tmp_path: Path) -> None:
    assert list(Traces(tmp_path, "no such mark", session=os.getsid(0)).processes()) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, which only root can make."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", str(tmp_path)], check=True)


def fill(folder: Path) -> None:
    with (folder / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(b"x" * 4096)


def test_a_start_on_a_full_disk_fails_with_a_sentence(small_disk: Path) -> None:
    share = Share(small_disk, "import time; time.sleep(600)")
    fill(small_disk)
    command = [*START_AGENT, str(share.folder / "agent.pyz"), str(share.folder)]
    started = subprocess.run(command, check=False, timeout=30, stderr=subprocess.PIPE, text=True)
    assert started.returncode == 1
    assert "No space left" in started.stderr
    (small_disk / "filler").unlink()
    assert share.exit()["why"] == "agent_killed"


def test_on_a_full_disk_the_agent_lives_and_its_record_is_whole(small_disk: Path) -> None:
    share = Share(
        small_disk,
        "import pathlib, sys, time\n"
        "print('x' * 100000 + 'error: the last words', flush=True)\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.01)\n"
        "sys.exit(3)",
        ranks=[0],
    )
    share.start()
    until(lambda: "last words" in share.log(0))
    fill(small_disk)
    before = share.beat()
    time.sleep(1.5)  # a heartbeat is due, and cannot be written
    assert process_start(share.pid) and share.beat()["undertaker"] == before["undertaker"]
    (small_disk / "go").mkdir()
    record = share.exit()
    assert (record["why"], record["first"]["code"]) == ("rank_failed", 3)
    assert len(record["first"]["tail"]) == 32 * 1024 and record["first"]["tail"].endswith("last words\n")
    until(lambda: process_start(share.pid) is None)


def test_the_heartbeat_says_where_each_rank_is(shared: Callable[..., Share]) -> None:
    share = shared(
        f"import os, signal, sys, time, types\n"
        f"exec(compile(open({progress.__file__!r}).read(), 'progress', 'exec'), vars(sys.modules['__main__']))\n"
        "rank = int(os.environ['RANK'])\n"
        "if rank == 1: raise SystemExit(0)\n"
        "if rank == 0: ProgressMark.of_environment().mark(412, 'forward_backward')\n"
        "if rank == 2: os.kill(os.getpid(), signal.SIGSTOP)\n"
        "time.sleep(60)",
        ranks=[0, 1, 2],
        slot_numbers=[5, 6, 7],
    )
    share.start()
    until(lambda: "1" in share.beat()["ended"] and share.beat()["ranks"]["2"]["state"] == "T")
    until(lambda: share.beat()["ranks"]["0"]["step"] is not None)
    beat = share.beat()
    assert beat["ended"] == {"1": 0} and list(beat["ranks"]) == ["0", "2"]
    first, third = beat["ranks"]["0"], beat["ranks"]["2"]
    assert (first["step"], first["phase"], first["slot"], first["state"]) == (412, "forward_backward", 5, "S")
    assert 0 <= first["ago"] < 30 and process_start(first["pid"]) and first["resident_bytes"] > 1 << 20
    until(lambda: share.beat()["ranks"]["2"]["cpu_percent"] == 0)  # it is stopped
    assert (third["step"], third["phase"], third["ago"], third["slot"]) == (None, None, None, 7)
    os.kill(first["pid"], signal.SIGKILL)
    record = share.exit()
    assert (record["first"]["rank"], record["first"]["slot"], record["first"]["step"]) == (0, 5, 412)


def test_a_rank_sees_the_gpus_of_its_slots() -> None:
    assert visible_devices([2, 5], None) == "2,5"
    assert visible_devices([0, 2], "4,GPU-1234,6") == "4,6"
    with pytest.raises(ValueError, match="there is no slot 3: CUDA_VISIBLE_DEVICES=4,5 is set on this node"):
        visible_devices([3], "4,5")


def test_a_process_that_is_gone_or_only_a_zombie_has_no_start() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: process_start(child.pid) is None)  # a zombie: nobody has waited for it
    child.wait()
    assert process_start(child.pid) is None
    assert process_start(os.getpid()) == process_start(os.getpid()) is not None


def test_it_ends_when_a_later_attempt_has_come_to_its_run_directory(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run" / "attempt-1" / "node-0"
    folder.mkdir(parents=True)
    share = Share(folder, "import time; time.sleep(60)")
    assert share.start() == 0
    (tmp_path / "run" / "attempt-2").mkdir()
    assert share.exit()["why"] == "stopped"
