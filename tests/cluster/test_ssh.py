"""SSH against real OpenSSH daemons: who is let in, what is said when something is wrong, and what happens on the way.

What SSH has in common with this machine stands in test_channel.py.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.cluster import ssh_route
from engine.cluster.channel import Channel, Transport, connect
from engine.cluster.hostfile import Node
from engine.cluster.ssh import command_line
from engine.cluster.testbed import Testbed
from engine.errors import InvalidInput, Unreachable

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
        self.file.write_text("\n".join([*lines, "Match all", f'Include "{self.testbed.ssh_config}"', ""]))
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
    only = ["Host node-1", f"IdentityFile {tmp_path / 'stranger'}", "IdentitiesOnly yes", "User root"]
    config.testbed = Testbed(tmp_path, "", [])  # whose configuration is not there: nothing else is included
    full = config.testbed.ssh_config
    assert not full.exists()


def test_a_locked_key_is_opened_by_the_agent(testbed: Testbed, config: Config, tmp_path: Path) -> None:
    assert testbed


def test_sentences(testbed: Testbed, config: Config) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    refused = config.refusal("HostName 127.0.0.1", f"Port {port}")
    assert refused.message == f"port {port} of 127.0.0.1 refuses the connection."
    unknown = config.refusal("HostName nowhere.invalid")
    assert "nowhere.invalid cannot be resolved" in unknown.message and str(testbed.port(1)) in unknown.message
    print(refused, unknown)
