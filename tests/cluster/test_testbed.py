"""The loopback nodes: real ones, which end with whoever holds them, and take nothing else along."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cluster.hostfile import load_hostfile
from engine.cluster.testbed import INSTALL_SSHD, Testbed, clocks, loopback
from engine.errors import InvalidInput, NotFound, Refused, RunFailed

SECONDS = 30.0

HOLDER = """
import sys, time
from pathlib import Path
from engine.cluster.testbed import Testbed
testbed = Testbed.start(Path(sys.argv[1]), nodes=2, slots=1, workdir=Path(sys.argv[1]))
print("up", flush=True)
time.sleep(600)
"""


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), SECONDS) as sock:
            return sock.recv(4) == b"SSH-"
    except ConnectionError:
        return False


def endpoints(folder: Path) -> list[tuple[str, int]]:
    names = [line.split()[0] for line in (folder / "known_hosts").read_text().splitlines()]
    return [(name.split("]")[0][1:], int(name.split(":")[1])) for name in names]


def ssh(folder: Path, host: str, command: str) -> subprocess.CompletedProcess[str]:
    line = ["ssh", "-F", str(folder / "ssh_config"), host, command]
    return subprocess.run(line, capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False)


def alive(pid: int) -> bool:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in ("", "Z")


def test_openssh_itself_reaches_every_node_of_the_hostfile(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    with Testbed.start(folder, nodes=3, slots=2, workdir=tmp_path / "my work") as testbed:
        nodes = load_hostfile(testbed.hostfile).nodes
        assert [(node.host, node.slots, node.shared) for node in nodes] == [(f"node-{i}", 2, True) for i in (1, 2, 3)]
        assert {(node.workdir, node.python) for node in nodes} == {(str(tmp_path / "my work"), sys.executable)}
        assert {(node.ssh_config, node.address) for node in nodes} == {(str(testbed.ssh_config), "127.0.0.1")}
        for node in nodes:
            assert ssh(folder, node.host, "echo $0 $((6*7))").stdout.endswith("42\n")
        assert len(set(endpoints(folder))) == 3
        keys = {line.split()[2] for line in testbed.known_hosts.read_text().splitlines()}
        assert len(keys) == 3, "each node has its own host key"
    assert not any(answers(*endpoint) for endpoint in endpoints(folder))


def test_a_node_stops_and_starts_while_the_others_and_detached_programs_go_on(tmp_path: Path) -> None:
    with Testbed.start(tmp_path, nodes=2, slots=1, workdir=tmp_path) as testbed:
        first, second = endpoints(tmp_path)
        detached = int(ssh(tmp_path, "node-1", "sleep 600 >/dev/null 2>&1 </dev/null & echo $!").stdout)
        try:
            staying = subprocess.Popen(
                ["ssh", "-F", str(testbed.ssh_config), "node-1", "sleep 600"], stdin=subprocess.PIPE
            )
            until(lambda: bool(testbed.sessions(1)))
            testbed.stop_node(1)
            assert staying.wait(SECONDS) == 255 and not answers(*first) and answers(*second)
            testbed.start_node(1)
            assert answers(*first) and ssh(tmp_path, "node-1", "true").returncode == 0
            staying = subprocess.Popen(
                ["ssh", "-F", str(testbed.ssh_config), "node-1", "sleep 600"], stdin=subprocess.PIPE
            )
            until(lambda: bool(testbed.sessions(1)))
            testbed.drop_connections(1)
            assert staying.wait(SECONDS) == 255 and answers(*first)
            assert alive(detached)
        finally:
            os.kill(detached, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="which programs run on a loopback node can be told on Linux only")
def test_each_node_has_its_own_leases_and_knows_its_own_programs(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    with Testbed.start(folder, nodes=2, slots=1, workdir=tmp_path) as testbed:
        for index in (1, 2):
            assert ssh(folder, f"node-{index}", "echo $PLUMBLINE_LEASES").stdout == f"{folder}/node-{index}/leases\n"
        detached = int(ssh(folder, "node-1", "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo $!").stdout)
        try:
            staying = subprocess.Popen(
                ["ssh", "-F", str(testbed.ssh_config), "node-1", "exec cat"], stdin=subprocess.PIPE
            )
            both = {("sleep 600", False), ("cat", True)}
            until(lambda: {(one.command, one.attached) for one in testbed.processes(1)} == both)
            assert testbed.processes(2) == []
            testbed.stop_node(1)
            assert staying.wait(SECONDS) == 255
            until(lambda: [one.pid for one in testbed.processes(1)] == [detached])
        finally:
            testbed.signal(1, [detached], signal.SIGKILL)
        until(lambda: not testbed.processes(1))


CLOCK = (
    "import threading, time; began = time.monotonic(); threading.Event().wait(0.05); "
    "print(time.time(), 'late' if time.monotonic() - began > 10 else 'in time', flush=True)"
)


@pytest.mark.skipif(Testbed.can_move_clocks() is not None, reason=f"nodes have no clocks: {Testbed.can_move_clocks()}")
def test_a_clock_that_is_moved_shows_in_what_runs_and_in_what_is_started(tmp_path: Path) -> None:
    def off(line: str) -> int:
        seconds, in_time = line.split(" ", 1)
        assert in_time.strip() == "in time"
        return round((float(seconds) - time.time()) / 100)

    with Testbed.start(tmp_path / "ssh", nodes=2, slots=1, workdir=tmp_path, clocks=True) as testbed:
        command = f'{sys.executable} -I -S -c "for _ in input, input: {CLOCK}; input()"'
        line = ["ssh", "-F", str(testbed.ssh_config), "node-1", command]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
            assert running.stdin is not None and running.stdout is not None
            assert off(running.stdout.readline()) == 0
            testbed.shift_clock(1, 3600.5)
            running.stdin.write("\n\n")
            running.stdin.flush()
            assert off(running.stdout.readline()) == 36
        started = f'{sys.executable} -I -S -c "{CLOCK}"'
        assert [off(ssh(tmp_path / "ssh", f"node-{index}", started).stdout) for index in (1, 2)] == [36, 0]
        testbed.shift_clock(1, -7200)
        assert off(ssh(tmp_path / "ssh", "node-1", started).stdout) == -72
    with pytest.raises(InvalidInput, match="without spaces"):
        Testbed.start(tmp_path / "a b", nodes=1, slots=1, workdir=tmp_path, clocks=True)


def test_without_a_compiler_there_are_no_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "program_path", lambda name: None)
    with pytest.raises(Refused, match="C compiler"):
        Testbed.start(tmp_path, nodes=1, slots=1, workdir=tmp_path, clocks=True)


def test_the_nodes_end_when_their_holder_is_killed(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"up\n"
    staying = subprocess.Popen(["ssh", "-F", str(tmp_path / "ssh_config"), "node-1", "cat"], stdin=subprocess.PIPE)
    assert all(answers(*endpoint) for endpoint in endpoints(tmp_path))
    holder.kill()
    holder.wait()
    holder.stdout.close()
    until(lambda: not any(answers(*endpoint) for endpoint in endpoints(tmp_path)))
    assert staying.wait(SECONDS) == 255
    assert staying.stdin is not None
    staying.stdin.close()


def test_a_node_that_does_not_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(loopback, "_free_endpoint", lambda index: taken.getsockname())
        with pytest.raises(RunFailed, match="node-1 does not start: Cannot bind") as caught:
            Testbed.start(tmp_path, nodes=1, slots=1, workdir=tmp_path)
        assert caught.value.where == str(tmp_path / "node-1.log")


def test_without_sshd_there_is_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.cluster.testbed.testbed.sshd_path", lambda: None)
    with pytest.raises(NotFound) as caught:
        Testbed.start(tmp_path, nodes=1, slots=1, workdir=tmp_path)
    assert INSTALL_SSHD in str(caught.value)
