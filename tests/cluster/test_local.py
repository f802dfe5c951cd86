"""This machine as a node; what it has in common with SSH stands in test_channel.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.cluster.dial import connect
from engine.cluster.hostfile import local_hostfile, parse_hostfile
from engine.errors import Unreachable


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Unreachable, match="/no/such/python") as caught:
        connect(local_hostfile().nodes[0]).open(["/no/such/python", "x"])
    assert caught.value.where == "localhost"


def test_a_tilde_stands_for_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    program = tmp_path / "hello there"
    program.write_text("#!/bin/sh\nprintf '%s' \"$0 $1\"\n")
    program.chmod(0o700)
    channel = connect(local_hostfile().nodes[0]).open(["~/hello there", "~/x"])
    assert channel.receive(30) == f"{program} ~/x".encode()


def test_the_address_is_that_of_the_hostfile() -> None:
    node = parse_hostfile("# plumbline: address=10.0.0.9\nlocalhost slots=1", "hosts").nodes[0]
    assert [connect(found).address for found in (node, local_hostfile().nodes[0])] == ["10.0.0.9", "127.0.0.1"]


_OPEN_AND_CLOSE = """
import time
from pathlib import Path
from engine.cluster.dial import connect
from engine.cluster.hostfile import local_hostfile

def descriptors():
    return len(list(Path("/dev/fd").iterdir()))

transport = connect(local_hostfile().nodes[0])
before = descriptors()
channels = [transport.open(["cat"]) for _ in range(5)]
assert descriptors() > before
transport.close()
assert [channel.receive(30) for channel in channels] == [b""] * 5
deadline = time.monotonic() + 30
while descriptors() > before and time.monotonic() < deadline:
    time.sleep(0.01)
assert descriptors() == before
"""


def test_closing_the_transport_closes_its_channels_and_leaves_nothing_open() -> None:
    subprocess.run([sys.executable, "-c", _OPEN_AND_CLOSE], check=True, timeout=60)
