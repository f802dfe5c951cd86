"""What every way to a node promises, on this machine and over a real sshd."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.cluster.channel import Channel, Transport
from engine.cluster.dial import connect
from engine.cluster.hostfile import load_hostfile, local_hostfile
from engine.cluster.testbed import Testbed
from engine.errors import Unreachable

SECONDS = 30.0


@pytest.fixture(scope="module", params=["local", "ssh"])
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    if request.param == "local":
        way = connect(local_hostfile().nodes[0])
        yield way
        way.close()
        return
    folder = tmp_path_factory.mktemp("testbed with a space")
    with Testbed.start(folder, nodes=1, slots=1, workdir=folder) as testbed:
        way = connect(load_hostfile(testbed.hostfile).nodes[0])
        yield way
        way.close()


def python(transport: Transport, program: str, *arguments: str) -> Channel:
    return transport.open([sys.executable, "-I", "-S", "-c", program, *arguments])


def all_of(channel: Channel) -> bytes:
    pieces = []
    while data := channel.receive(SECONDS):
        assert len(data) <= 65536
        pieces.append(data)
    return b"".join(pieces)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_five_megabytes_arrive_exactly_both_ways(transport: Transport) -> None:
    sent = os.urandom(1 << 20) + bytes(range(256)) * (4 << 12)
    channel = transport.open(["head", "-c", str(len(sent))])
    sender = in_thread(lambda: channel.send(sent))
    assert all_of(channel) == sent
    sender.join(SECONDS)
    assert channel.receive(SECONDS) == b"", "the end stays the end"
    channel.close()


arguments = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(arguments, max_size=40))
def test_arguments_arrive_exactly(transport: Transport, given: list[str]) -> None:
    tricky = [
        "",
        "a b",
        "'\"\\",
        "$HOME `id` $(id) !x",
        "line\nline",
        "*",
        "~",
        "-n",
        "é 漢 \U0001f9ea",
        "a\\nb;&|>x",
        *given,
    ]
    channel = python(transport, "import json, sys; print(json.dumps(sys.argv[1:]))", *tricky)
    assert json.loads(all_of(channel)) == tricky


def test_a_program_starts_in_the_home_folder_in_a_session_of_its_own(transport: Transport) -> None:
    channel = python(transport, "import os; print(os.getcwd(), os.getsid(0) == os.getpid())")
    assert all_of(channel).decode().split() == [str(Path.home()), "True"]


def test_the_last_words_of_a_program_are_kept_and_never_block_it(transport: Transport) -> None:
    program = "import sys; [sys.stderr.write('x' * 65536) for _ in range(160)]; print('done'); sys.exit('at last: é')"
    channel = python(transport, program)
    assert all_of(channel) == b"done\n"
    assert channel.errors().endswith("xxx" + "at last: é\n") and len(channel.errors().encode()) <= 4096


def test_silence_is_a_timeout_and_nothing_is_lost(transport: Transport) -> None:
    channel = transport.open(["cat"])
    with pytest.raises(TimeoutError):
        channel.receive(0.05)
    channel.send(b"still there")
    assert channel.receive(SECONDS) == b"still there"
    channel.close()


def test_close_ends_a_receive_and_the_programs_input(transport: Transport, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    channel = python(transport, "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('ended')", str(witness))
    received: list[bytes] = []
    waiting = in_thread(lambda: received.append(channel.receive(SECONDS)))
    time.sleep(0.1)
    closers = [in_thread(channel.close) for _ in range(3)]
    for thread in (waiting, *closers):
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert received == [b""]
    deadline = time.monotonic() + SECONDS
    while not (witness.exists() and witness.read_text()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert witness.read_text() == "ended", "the program was not killed"
    with pytest.raises(Unreachable):
        channel.send(b"too late")


def test_close_ends_a_send_that_nobody_reads(transport: Transport) -> None:
    channel = python(transport, "import time; time.sleep(60)")
    failures: list[Unreachable] = []

    def send() -> None:
        try:
            channel.send(bytes(32 << 20))
        except Unreachable as error:
            failures.append(error)

    sending = in_thread(send)
    time.sleep(0.3)
    assert sending.is_alive()
    channel.close()
    sending.join(SECONDS)
    assert not sending.is_alive() and failures and failures[0].where == transport.host


def test_sending_to_a_program_that_has_ended_says_so(transport: Transport) -> None:
    channel = transport.open(["true"])
    assert all_of(channel) == b""
    with pytest.raises(Unreachable, match="ended"):
        for _ in range(100):
            channel.send(bytes(65536))
