"""The standing of a node: what /proc and nvidia-smi say, and that nothing which hangs hides the rest."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.node import leases, machine, sampling
from engine.cluster.node.companion import Companion
from engine.cluster.node.sampling import Sampling
from engine.cluster.node.xids import XidLog
from engine.telemetry.progress import FOLDER_VARIABLE
from tests.cluster.node_share import until

# The first as an H200 told it with driver 580; a MIG device tells no utilisation, a desktop card no ECC errors.
H200 = "GPU-eeb26fdf-72ef-5bdb-1a3c-78de5459666b"
GPUS = (
    f"0, {H200}, NVIDIA H200, 580.159.04, 143771, 1395, 100, 0, 58, 624.24, 00000000:00:06.0\n"
    "1, GPU-77c0, NVIDIA H200, 580.159.04, 143771, 4, [N/A], [N/A], 31, [N/A], 00000000:2A:00.0\n"
)
STAT = "cpu  100 20 30 800 50 0 0 0 7 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
DEV = (
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls\n"
    "    lo: 9999 1 0 0 0 0 0 0 9999 1 0 0 0 0 0 0\n"
    "  eth0:    1000 10 0 0 0 0 0 0     200 2 0 0 0 0 0 0\n"
    "   ib0: 500 10 0 0 0 0 0 0 50 2 0 0 0 0 0 0\n"
    "veth1: 7777 10 0 0 0 0 0 0 7777 2 0 0 0 0 0 0\n"
)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.FOLDER_VARIABLE, str(tmp_path / "leases"))


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[int]:
    """A process that a run has started."""
    environ = {**os.environ, FOLDER_VARIABLE: str(tmp_path / "attempt-1/node-0")}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=environ)
    yield process.pid
    process.kill()
    process.wait()


def smi(folder: Path, gpus: str, processes: str = "", then: str = "") -> str:
    """Return a program that speaks as nvidia-smi does."""
    path = folder / "nvidia-smi"
    path.write_text(
        f"#!{sys.executable} -IS\nimport sys, time\n{then}\n"
        f"print({gpus!r} if '--query-gpu=' in sys.argv[1] else {processes!r}, end='')\n"
    )
    path.chmod(0o755)
    return str(path)


@contextmanager
def watched(smi: str, workdir: Path) -> Iterator[Callable[[], dict[str, Any]]]:
    """Give a function that returns the next standing of this machine."""
    heard: queue.Queue[Any] = queue.Queue()
    gone = threading.Event()

    def send(frame: Mapping[str, Any]) -> None:
        if gone.is_set():
            raise BrokenPipeError
        heard.put(frame["node"])

    Sampling(send, smi=smi).watch(seconds=0.05, workdir=str(workdir))
    yield lambda: heard.get(timeout=20)  # type: ignore[no-any-return]
    gone.set()
    until(lambda: not any(thread.name == "sampling" for thread in threading.enumerate()))


def test_gpus_and_their_users_are_told(tmp_path: Path, worker: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "kmsg"
    log.write_text("6,1,5,-;NVRM: Xid (PCI:0000:2a:00): 79, pid=123, GPU has fallen off the bus.\n")
    monkeypatch.setattr(sampling, "XidLog", lambda: XidLog(str(log)))
    processes = f"{H200}, {worker}, 1386, /opt/a,b/bin/python3\nGPU-77c0, {os.getpid()}, [N/A], python\n"
    with watched(smi(tmp_path, GPUS, processes), tmp_path) as standing:
        first, second = standing()["gpus"]
    assert (first["index"], first["name"], first["utilization_percent"]) == (0, "NVIDIA H200", 100)
    assert (first["memory_used_bytes"], first["memory_total_bytes"]) == (1395 << 20, 143771 << 20)
    assert (first["temperature_c"], first["power_w"], first["ecc_uncorrected"], first["xid"]) == (58, 624.24, 0, None)
    (ours,) = first["processes"]
    assert (ours["pid"], ours["ours"], ours["memory_bytes"]) == (worker, True, 1386 << 20)
    assert ours["folder"] == str(tmp_path / "attempt-1/node-0")
    assert (second["utilization_percent"], second["power_w"], second["ecc_uncorrected"]) == (None, None, None)
    assert second["xid"] == {"code": 79, "text": "pid=123, GPU has fallen off the bus."}
    (foreign,) = second["processes"]
    assert (foreign["ours"], foreign["folder"], foreign["memory_bytes"]) == (False, None, None)


def test_without_nvidia_smi_the_rest_is_told(tmp_path: Path) -> None:
    held, _ = leases.take([3])
    leases.sign(held, {"experiment": "sft-0001", "pid": os.getpid(), "started": "now"})
    with watched(str(tmp_path / "none"), tmp_path / "not/there/yet") as standing:
        first, second = standing(), standing()
    leases.release(held)
    assert "gpus" not in first and first["leases"]["3"]["experiment"] == "sft-0001"
    assert first["disk"]["path"] == str(tmp_path) and 0 < first["disk"]["free_bytes"] <= first["disk"]["total_bytes"]
    assert 0 < first["memory"]["used_bytes"] < first["memory"]["total_bytes"]
    assert "percent" not in first["cpu"] and 0 <= second["cpu"]["percent"] <= 100
    assert first["problems"] == second["problems"] == []


def test_nvidia_smi_that_hangs_is_named_and_called_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "PATIENCE_SECONDS", 0.3)
    calls = tmp_path / "calls"
    hangs = smi(tmp_path, GPUS, then=f"open({str(calls)!r}, 'a').write('x'); time.sleep(5)")
    with watched(hangs, tmp_path) as standing:
        for _ in range(3):
            found = standing()
            assert "gpus" not in found and found["disk"]
            (problem,) = found["problems"]
            assert problem.startswith("nvidia-smi has not answered for ")
    assert calls.read_text() == "x"


def test_a_companion_sends_the_standing_until_the_connection_ends(tmp_path: Path) -> None:
    ours, its = os.pipe(), os.pipe()
    companion = Companion(ours[0], its[1], {})
    thread = threading.Thread(target=companion.serve, daemon=True)
    thread.start()
    os.write(ours[1], json.dumps({"do": "watch", "seconds": 0.05, "workdir": str(tmp_path)}).encode() + b"\n")
    with os.fdopen(its[0]) as answers:
        seen = 0
        while seen < 3:
            seen += "node" in json.loads(answers.readline())
        where = {"run_dir": "/no/run", "attempt": 1, "node": 0}
        for request in ({"do": "leases", "id": 1}, {"do": "sweep", "id": 2, **where}):
            os.write(ours[1], json.dumps(request).encode() + b"\n")
        replies: dict[int, dict[str, Any]] = {}
        while len(replies) < 2:
            answer = json.loads(answers.readline())
            if "reply" in answer:
                replies[answer["reply"]] = answer
        assert replies[1]["held"] == {} and (replies[2]["killed"], replies[2]["left"]) == (0, 0)
        os.close(ours[1])
        thread.join(10)
        assert not thread.is_alive()
    os.close(its[1])
    until(lambda: not any(other.name == "sampling" for other in threading.enumerate()))


def test_the_texts_of_proc_are_read_as_the_kernel_means_them() -> None:
    assert machine.cpu_times(STAT) == (150, 1000)  # who waits for a disk is not busy; guests are users
    assert machine.network_bytes(DEV) == (1500, 250)  # no loop back, no containers' ends
    assert machine.memory("MemTotal: 100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\n") == {
        "used_bytes": 60 * 1024,
        "total_bytes": 100 * 1024,
    }
    before = machine.Counters(10.0, 100, 1000, 5000, 100)
    after = machine.Counters(12.0, 150, 1100, 7000, 50)
    assert machine.rates(before, after) == {"percent": 50.0, "in_bytes_per_second": 1000}  # a card has gone
