"""SSH against real OpenSSH daemons: who is let in, what is said when something is wrong, and what happens on the way.

What SSH has in common with this machine stands in test_channel.py.
"""

from __future__ import annotations

import dataclasses
import getpass
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.cluster import ssh, ssh_route
from engine.cluster.channel import Channel
from engine.cluster.dial import connect
from engine.cluster.hostfile import Node
from engine.cluster.ssh import command_line
from engine.cluster.testbed import Testbed
from engine.errors import Unreachable

SECONDS = 30.0


@pytest.fixture(scope="module")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Testbed]:
    folder = tmp_path_factory.mktemp("testbed")
    with Testbed.start(folder, nodes=2, slots=1, workdir=folder) as running:
        yield running


class Config:
    """The testbed's SSH configuration, changed; what stands first holds."""

    def __init__(self, testbed: Testbed, folder: Path) -> None:
        self.testbed, self.file = testbed, folder / "ssh_config"

    def node(self, *lines: str, host: str = "node-1") -> Node:
        """Return a node that is reached as these lines say, and in all else as the testbed says."""
        rest = self.testbed.ssh_config.read_text().splitlines()
        if any(line.startswith("IdentityFile") for line in lines):  # else both would be tried
            rest = [line for line in rest if "IdentityFile" not in line]
        self.file.write_text("\n".join([*lines, *rest, ""]))
        return Node(host, 1, ssh_config=str(self.file))

    def refusal(self, *lines: str, host: str = "node-1") -> Unreachable:
        """Return why such a node cannot be reached; the sentence must name host and port."""
        with pytest.raises(Unreachable) as caught:
            connect(self.node(*lines, host=host))
        assert caught.value.where == host and "\n" not in str(caught.value) and caught.value.message.endswith(".")
        return caught.value


@pytest.fixture
def config(testbed: Testbed, tmp_path: Path) -> Config:
    return Config(testbed, tmp_path)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def make_key(file: Path, passphrase: str = "") -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(file))


def fingerprint(file: Path) -> str:
    return run("ssh-keygen", "-lf", str(file)).split()[1]


def said(channel: Channel) -> str:
    pieces = []
    while data := channel.receive(SECONDS):
        pieces.append(data)
    return b"".join(pieces).decode()


def sessions_end(testbed: Testbed) -> None:
    """Wait until sshd has noticed that earlier connections were closed."""
    deadline = time.monotonic() + SECONDS
    while testbed.sessions(1) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert testbed.sessions(1) == []


def signal_daemon(testbed: Testbed, number: int) -> None:
    for session in testbed.sessions(1):
        os.kill(session, number)


def works(node: Node) -> bool:
    transport = connect(node)
    try:
        return said(transport.open(["echo", "hello"])) == "hello\n"
    finally:
        transport.close()


def test_an_unknown_host_key_is_shown_and_the_hint_accepts_it(testbed: Testbed, config: Config, tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    line = f'UserKnownHostsFile "{known}"'
    refusal = config.refusal(line, "StrictHostKeyChecking no")
    assert fingerprint(testbed.folder / "node-1.key.pub") in refusal.message
    assert f"port {testbed.port(1)} of 127.0.0." in refusal.message and refusal.hint
    accept = refusal.hint.split("To accept it: ")[1]
    subprocess.run(accept, shell=True, check=True, capture_output=True)
    assert works(config.node(line))
    run("ssh-keygen", "-H", "-f", str(known))
    assert works(config.node(line)), "hashed names are found as well"


def test_a_changed_host_key_is_a_warning_with_both_keys(testbed: Testbed, config: Config, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    name, *_ = testbed.known_hosts.read_text().split()
    known = tmp_path / "known"
    known.write_text(f"# mine\n{name} {(tmp_path / 'other.pub').read_text()}")
    line = f"UserKnownHostsFile {known}"
    refusal = config.refusal(line)
    assert "HAS CHANGED" in refusal.message and f"{known}:2" in refusal.message
    for key in (tmp_path / "other.pub", testbed.folder / "node-1.key.pub"):
        assert fingerprint(key) in refusal.message
    assert refusal.hint
    forget, accept = refusal.hint.split("anew: ")[1].split("; then ")
    for command in (forget, accept):
        subprocess.run(command, shell=True, check=True, capture_output=True)
    assert works(config.node(line))


def test_a_revoked_host_key_is_refused_though_it_is_known(testbed: Testbed, config: Config, tmp_path: Path) -> None:
    known = tmp_path / "known"
    lines = testbed.known_hosts.read_text()
    known.write_text(lines + "".join(f"@revoked * {' '.join(line.split()[1:])}\n" for line in lines.splitlines()))
    refusal = config.refusal(f"UserKnownHostsFile {known}")
    assert "revokes" in refusal.message and f"{known}:3" in refusal.message


def test_a_key_that_is_not_let_in_is_named_with_its_user(config: Config, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger")
    refusal = config.refusal(f"IdentityFile {tmp_path / 'stranger'}")
    assert f"let {getpass.getuser()} in" in refusal.message and f"tried {tmp_path / 'stranger'}" in refusal.message
    assert refusal.hint and f"ssh-copy-id -p {config.testbed.port(1)} " in refusal.hint


def test_keys_that_cannot_be_used_are_named(config: Config, tmp_path: Path) -> None:
    absent, damaged, locked = (tmp_path / name for name in ("absent", "damaged", "locked"))
    damaged.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
    make_key(locked, "secret")
    refusal = config.refusal(*(f"IdentityFile {file}" for file in (absent, damaged, locked)))
    assert f"no key file {absent}" in refusal.message and f"{damaged} is no private key" in refusal.message
    assert f"{locked} is encrypted" in refusal.message and refusal.hint and f"ssh-add {locked}" in refusal.hint


def test_a_locked_key_is_opened_by_the_agent(
    config: Config, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    shutil.copy(config.testbed.folder / "client", locked)
    shutil.copy(config.testbed.folder / "client.pub", tmp_path / "locked.pub")
    run("ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked))
    sock = tempfile.mktemp(prefix="agent-")  # a short path: sockets have no long ones
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", sock)
        while not Path(sock).exists():
            time.sleep(0.01)
        node = config.node(f"IdentityFile {locked}")
        with pytest.raises(Unreachable, match="the SSH agent does not hold it"):
            connect(node)
        run("ssh-add", "-q", str(config.testbed.folder / "client"))
        assert works(node)
        with pytest.raises(Unreachable, match="encrypted"):
            connect(config.node(f"IdentityFile {locked}", "IdentityAgent none"))
    finally:
        agent.terminate()
        agent.wait()


def drop(listener: socket.socket, connections: int) -> None:
    for _ in range(connections):
        listener.accept()[0].close()


def test_where_nothing_answers_the_cause_is_said(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        here = ("HostName 127.0.0.1", f"Port {port}")
        assert config.refusal(*here).message == f"port {port} of 127.0.0.1 refuses the connection."
        unknown = config.refusal("HostName nowhere.invalid").message
        assert "nowhere.invalid cannot be resolved" in unknown and f"port {config.testbed.port(1)}" in unknown
        monkeypatch.setattr(ssh_route, "HANDSHAKE_SECONDS", 0.3)
        listener.listen()
        silent = config.refusal(*here).message
        assert f"port {port} of 127.0.0.1 takes connections, but said nothing" in silent
        monkeypatch.setattr(ssh_route, "DROPPED_TRIES", 2)
        dropping = threading.Thread(target=drop, args=[listener, 3])
        dropping.start()
        assert "closed the connection before it said anything, 2 times" in config.refusal(*here).message
        dropping.join(SECONDS)


def test_twenty_connections_at_once_are_all_let_in(testbed: Testbed, config: Config) -> None:
    node = config.node()
    with ThreadPoolExecutor(20) as pool:
        for transport in pool.map(lambda _: connect(node), range(20)):
            transport.close()


def test_the_way_over_jump_hosts(testbed: Testbed, config: Config) -> None:
    sessions_end(testbed)
    transport = connect(config.node("Match originalhost node-2", "ProxyJump node-1", host="node-2"))
    assert testbed.sessions(1), "the connection leads over node-1"
    peer = said(transport.open(["sh", "-c", "echo $SSH_CONNECTION"])).split()
    assert peer[3] == str(testbed.port(2))
    testbed.drop_connections(1)
    with pytest.raises(Unreachable):
        channel = transport.open(["cat"])
        while channel.receive(SECONDS):
            pass
    transport.close()

    user = f"{getpass.getuser()}@node-1:{testbed.port(1)}"
    chain = [
        "Host far",
        f"HostName {transport_address(testbed, 2)}",
        f"Port {testbed.port(2)}",
        f"ProxyJump {user},node-2",
    ]
    chain += [f'  IdentityFile "{testbed.folder / "client"}"', f'UserKnownHostsFile "{testbed.known_hosts}"']
    assert works(config.node(*chain, host="far"))


def transport_address(testbed: Testbed, index: int) -> str:
    return testbed.known_hosts.read_text().splitlines()[index - 1].split("]")[0][1:]


def test_what_a_jump_host_cannot_reach_is_said(testbed: Testbed, config: Config) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = sock.getsockname()[1]
        refusal = config.refusal(
            "Match originalhost node-2", "ProxyJump node-1", "HostName 127.0.0.1", f"Port {closed}", host="node-2"
        )
    assert "jump host node-1" in refusal.message and f"cannot reach port {closed} of 127.0.0.1" in refusal.message
    circle = config.refusal("Host node-1", "ProxyJump node-2", "Host node-2", "ProxyJump node-1")
    assert "in a circle" in circle.message


def test_a_proxy_command_is_the_way_or_says_why_not(testbed: Testbed, config: Config) -> None:
    proxy = f"ProxyCommand ssh -F {shlex.quote(str(testbed.ssh_config))} -W %h:%p node-1"
    assert works(config.node("Match originalhost node-2", proxy, host="node-2"))
    refusal = config.refusal("ProxyCommand echo no way >&2; exit 1")
    assert "the ProxyCommand" in refusal.message and refusal.message.endswith(": no way.")


def test_a_node_that_starts_again_is_reached_again(testbed: Testbed, config: Config) -> None:
    node = config.node()
    transport = connect(node)
    channel = transport.open(["cat"])
    testbed.stop_node(1)
    with pytest.raises(Unreachable, match=f"the connection to port {testbed.port(1)} of .* broke"):
        channel.receive(SECONDS)
    with pytest.raises(Unreachable, match="broke"):
        transport.open(["cat"])
    assert "refuses" in config.refusal().message
    testbed.start_node(1)
    transport.close()
    assert works(node)


def test_a_dropped_connection_is_told_to_all_who_use_it(testbed: Testbed, config: Config) -> None:
    transport = connect(config.node())
    channels = [transport.open(["cat"]) for _ in range(3)]
    channels[0].send(b"before")
    assert channels[0].receive(SECONDS) == b"before"
    testbed.drop_connections(1)
    for channel in channels:
        with pytest.raises(Unreachable, match="broke"):
            channel.receive(SECONDS)
        with pytest.raises(Unreachable, match="broke"):
            channel.send(b"after")
    transport.close()


def test_a_frozen_daemon_is_silence_and_close_does_not_wait_for_it(testbed: Testbed, config: Config) -> None:
    sessions_end(testbed)
    transport = connect(config.node())
    channel = transport.open(["cat"])
    signal_daemon(testbed, signal.SIGSTOP)
    try:
        channel.send(b"hello")
        with pytest.raises(TimeoutError):
            channel.receive(0.3)
        signal_daemon(testbed, signal.SIGCONT)
        assert channel.receive(SECONDS) == b"hello", "nothing is lost"
        signal_daemon(testbed, signal.SIGSTOP)
        closing = threading.Thread(target=transport.close, daemon=True)
        closing.start()
        closing.join(SECONDS)
        assert not closing.is_alive()
        assert channel.receive(SECONDS) == b""
    finally:
        signal_daemon(testbed, signal.SIGCONT)


def test_a_daemon_that_starts_no_program_is_not_waited_for(
    testbed: Testbed, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions_end(testbed)
    transport = connect(config.node())
    monkeypatch.setattr(ssh, "HANDSHAKE_SECONDS", 0.3)
    signal_daemon(testbed, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="did not start the program"):
            transport.open(["cat"])
    finally:
        signal_daemon(testbed, signal.SIGCONT)
        transport.close()


def test_one_session_too_many_is_said_and_nothing_is_printed(config: Config, capfd: pytest.CaptureFixture[str]) -> None:
    transport = connect(config.node())
    channels = [transport.open(["cat"]) for _ in range(10)]
    with pytest.raises(Unreachable, match="opens no further session") as caught:
        transport.open(["cat"])
    assert caught.value.hint and "MaxSessions" in caught.value.hint
    channels[0].send(b"x")
    assert channels[0].receive(SECONDS) == b"x"
    transport.close()
    assert capfd.readouterr() == ("", "")


def test_a_program_that_is_not_there_is_told_by_its_shell(config: Config) -> None:
    transport = connect(config.node())
    channel = transport.open(["/no/such/python", "-V"])
    assert channel.receive(SECONDS) == b"" and "/no/such/python" in channel.errors()
    transport.close()


def test_a_tilde_stands_for_the_home_folder_there(tmp_path: Path) -> None:
    program = tmp_path / "it's here"
    program.write_text("#!/bin/sh\nprintf '%s' \"$0 $1\"\n")
    program.chmod(0o700)
    for name in ("~/it's here", str(program)):
        line = ["sh", "-c", command_line([name, "~/x"])]
        done = subprocess.run(line, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)})
        assert done.stdout == f"{program} ~/x"


def test_the_address_for_other_nodes_is_what_ssh_connects_to_unless_said(testbed: Testbed, config: Config) -> None:
    node = config.node()
    for given, address in ((None, transport_address(testbed, 1)), ("10.0.0.1", "10.0.0.1")):
        transport = connect(dataclasses.replace(node, address=given))
        assert (transport.host, transport.address) == ("node-1", address)
        transport.close()
