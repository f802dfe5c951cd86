"""Isolated nodes: machines of their own to whoever is on them, and what can befall them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.cluster.hostfile import load_hostfile
from engine.cluster.testbed import Testbed, isolated, programs
from engine.errors import InvalidInput, Refused

SECONDS = 30.0

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(Testbed.can_isolate() is not None, reason=f"nodes cannot be isolated: {Testbed.can_isolate()}"),
]


class Cluster:
    """Three isolated nodes with disks of their own, and what a person does on them."""

    def __init__(self, testbed: Testbed) -> None:
        self.testbed = testbed

    def ssh(self, index: int, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        line = ["ssh", "-F", str(self.testbed.ssh_config), *options, f"node-{index}", command]
        return subprocess.run(
            line, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False
        )

    def said(self, index: int, command: str) -> str:
        done = self.ssh(index, command)
        assert done.returncode == 0, done
        return done.stdout.strip()

    def detached(self, index: int, command: str) -> int:
        return int(self.said(index, f"{command} >/dev/null 2>&1 </dev/null & echo $!"))


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("isolated nodes")
    with Testbed.start(folder / "ssh", nodes=3, slots=2, workdir=folder / "work", isolated=True, disk_mb=8) as running:
        yield Cluster(running)


def test_each_node_is_a_machine_of_its_own(cluster: Cluster) -> None:
    testbed = cluster.testbed
    nodes = load_hostfile(testbed.hostfile).nodes
    assert [(node.address, node.interface, node.shared) for node in nodes] == [
        (f"10.78.0.{index}", "eth0", False) for index in (1, 2, 3)
    ]
    look = (
        "hostname; cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net; echo $PLUMBLINE_LEASES; "
        f"touch /dev/shm/only-$(hostname); ls /dev/shm; hostname > '{nodes[0].workdir}/file'"
    )
    seen = [cluster.said(index, look).splitlines() for index in (1, 2, 3)]
    assert [lines[0] for lines in seen] == ["node-1", "node-2", "node-3"]
    assert [lines[3] for lines in seen] == [f"{testbed.folder}/node-{index}/leases" for index in (1, 2, 3)]
    assert [lines[4:] for lines in seen] == [[f"only-node-{index}"] for index in (1, 2, 3)]
    assert all(len({lines[what] for lines in seen}) == 3 for what in (1, 2))
    assert [(testbed.disk(index) / "file").read_text() for index in (1, 2)] == ["node-1\n", "node-2\n"]
    peer = "import socket; print(socket.create_connection(('node-3', 2222), 5).recv(4))"
    assert cluster.said(1, f'{sys.executable} -I -S -c "{peer}"') == "b'SSH-'"


def test_a_program_is_found_on_its_own_node_until_it_is_gone(cluster: Cluster) -> None:
    testbed = cluster.testbed
    pid = cluster.detached(1, "sleep 600")
    staying = subprocess.Popen(["ssh", "-F", str(testbed.ssh_config), "node-1", "exec cat"], stdin=subprocess.PIPE)
    both = {("sleep 600", False), ("cat", True)}
    until(lambda: {(one.command, one.attached) for one in testbed.processes(1)} == both)
    assert pid in [process.pid for process in testbed.processes(1)]
    assert testbed.processes(2) == []
    testbed.drop_connections(1)
    assert staying.wait(SECONDS) == 255
    testbed.stop_node(1)
    assert cluster.ssh(1, "true").returncode == 255
    assert staying.stdin is not None
    staying.stdin.close()
    until(lambda: [process.pid for process in testbed.processes(1)] == [pid])
    testbed.start_node(1)
    assert cluster.said(1, "hostname") == "node-1" and testbed.sessions(2) == []
    testbed.signal(1, [pid], signal.SIGKILL)
    until(lambda: testbed.processes(1) == [])


def test_a_cut_link_parts_a_node_from_all_and_a_mended_one_carries_what_was_under_way(cluster: Cluster) -> None:
    testbed = cluster.testbed
    line = ["ssh", "-F", str(testbed.ssh_config), "node-2", "exec cat"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as staying:
        assert staying.stdin is not None and staying.stdout is not None
        staying.stdin.write(b"before\n")
        assert staying.stdout.readline() == b"before\n"
        testbed.cut(2)
        staying.stdin.write(b"while cut\n")
        peer = "import socket; socket.create_connection(('node-2', 2222), 0.3)"
        assert cluster.ssh(1, f'{sys.executable} -I -S -c "{peer}"').returncode == 1
        testbed.mend(2)
        assert staying.stdout.readline() == b"while cut\n"


def test_a_slow_link_delays_each_way_a_lossy_one_carries_nothing_and_a_mended_one_all(cluster: Cluster) -> None:
    testbed = cluster.testbed
    ping = (
        "import socket, time; began = time.monotonic(); "
        "socket.create_connection(('node-1', 2222), 5); print(time.monotonic() - began)"
    )
    command = f'{sys.executable} -I -S -c "{ping}"'
    testbed.impair(1, delay_ms=20)
    testbed.cut(1)
    testbed.mend(1)
    assert float(cluster.said(3, command)) >= 0.04
    assert len(cluster.said(1, "head -c 300000 /dev/zero | tr '\\0' x")) == 300000
    testbed.impair(1, loss_percent=100)
    assert cluster.ssh(1, "true", "-o", "ConnectTimeout=1").returncode == 255
    testbed.impair(1)
    assert cluster.said(1, "hostname") == "node-1"


def test_a_full_disk_is_full_for_its_node_alone(cluster: Cluster) -> None:
    testbed = cluster.testbed
    workdir = load_hostfile(testbed.hostfile).nodes[0].workdir
    testbed.fill_disk(1)
    full = cluster.ssh(1, f"head -c 9000 /dev/zero > '{workdir}/more'")
    assert full.returncode == 1 and "No space left on device" in full.stderr
    cluster.said(2, f"head -c 9000 /dev/zero > '{workdir}/more'")
    testbed.free_disk(1)
    cluster.said(1, f"head -c 9000 /dev/zero > '{workdir}/more'")


def test_a_node_without_power_takes_its_programs_along_and_keeps_its_disk(cluster: Cluster) -> None:
    testbed = cluster.testbed
    workdir = load_hostfile(testbed.hostfile).nodes[0].workdir
    before = cluster.said(3, f"cat /proc/sys/kernel/random/boot_id; echo kept > '{workdir}/kept'")
    cluster.detached(3, "setsid sleep 601")
    line = ["ssh", "-F", str(testbed.ssh_config), "-o", "ServerAliveInterval=1", "node-3", "exec cat"]
    with subprocess.Popen(line, stdin=subprocess.PIPE) as staying:
        until(lambda: len(testbed.processes(3)) == 2)
        testbed.kill_node(3)
        with pytest.raises(Refused, match="node-3 is switched off"):
            testbed.processes(3)
        assert staying.poll() is None, "nobody told the other end"
        testbed.boot_node(3)
        assert testbed.processes(3) == []
        assert cluster.said(3, f"cat '{workdir}/kept'") == "kept"
        assert cluster.said(3, "cat /proc/sys/kernel/random/boot_id") != before
        assert staying.wait(SECONDS) == 255
        assert cluster.said(1, "hostname") == "node-1", "the others ran on"


HOLDER = """
import sys, time
from pathlib import Path
from engine.cluster.testbed import Testbed
folder = Path(sys.argv[1])
testbed = Testbed.start(folder, nodes=2, slots=1, workdir=folder / "work", isolated=True)
print("up", flush=True)
time.sleep(600)
"""


def test_two_testbeds_stand_beside_each_other_and_nothing_outlives_its_holder(cluster: Cluster, tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    line = ["ssh", "-F", str(tmp_path / "ssh_config"), "node-1", f"setsid sleep 600 '{tmp_path}' & echo; exec cat"]
    staying = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert staying.stdout is not None and staying.stdin is not None and staying.stdout.readline() == b"\n"
    assert cluster.said(1, "hostname") == "node-1"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert staying.wait(SECONDS) == 255
    staying.stdin.close()
    staying.stdout.close()
    until(lambda: not _mention(str(tmp_path)))


def _mention(text: str) -> list[bytes]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if text.encode() in line:
            found.append(line)
    return found


def test_what_is_not_possible_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Testbed.start(tmp_path / "a", nodes=1, slots=1, workdir=tmp_path) as loopback:
        for fault in (loopback.cut, loopback.fill_disk, loopback.kill_node):
            with pytest.raises(Refused, match="isolated nodes only"):
                fault(1)
        with pytest.raises(Refused, match="no clocks"):
            loopback.shift_clock(1, 60)
    with pytest.raises(InvalidInput, match="would hide"):
        Testbed.start(tmp_path / "b", nodes=1, slots=1, workdir=tmp_path, isolated=True, disk_mb=8)
    monkeypatch.setattr(isolated, "program_path", lambda name: None if name == "ip" else programs.program_path(name))
    isolated.why_not.cache_clear()
    try:
        assert Testbed.can_isolate() == "ip cannot be found (Debian, Ubuntu: sudo apt-get install iproute2)"
        with pytest.raises(Refused, match="iproute2"):
            Testbed.start(tmp_path / "c", nodes=1, slots=1, workdir=tmp_path, isolated=True)
    finally:
        isolated.why_not.cache_clear()
