"""Large objects go from node to node: this machine sends one copy, whoever has no token gets nothing."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cluster.node.contents import Hashes, describe
from engine.cluster.session import NodeSession
from engine.errors import Unreachable
from tests.cluster.apart import Apart, node_fixtures, write

MB = 1 << 20
TOKEN = "5" * 64


module_nodes, nodes = node_fixtures(4)


@pytest.fixture
def session(nodes: Apart) -> Iterator[NodeSession]:
    with NodeSession.connect(nodes.node(1)) as session:
        yield session


def document(path: Path) -> dict[str, Any]:
    return describe(path, Hashes(path.parent / "hashes.json")).document()


def ask(port: int, token: str, wants: list[list[int]]) -> bytes:
    """What a server gives to who shows a token."""
    with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(f"{token}\n{json.dumps(wants)}\n".encode())
        connection.shutdown(socket.SHUT_WR)
        return connection.makefile("rb").read()
    return b""


def test_four_nodes_get_it_and_this_machine_sends_one_copy(nodes: Apart) -> None:
    weights = write(nodes.here / "llama/weights.bin", 4 * MB + 3)
    config = write(nodes.here / "llama/config.json", 500)
    size = len(weights) + len(config)
    staged = nodes.stage(["~/llama"], on=(1, 2, 3, 4), fan_out=MB)
    assert (staged.sent, staged.fetched) == (size, 3 * size)
    for index in (1, 2, 3, 4):
        there = nodes.there(index, staged.paths["~/llama"])
        assert (there / "weights.bin").read_bytes() == weights
        assert (there / "config.json").read_bytes() == config


def test_nodes_that_do_not_reach_each_other_are_sent_it_from_here(nodes: Apart) -> None:
    data = write(nodes.here / "big.bin", 2 * MB)
    targets = [replace(nodes.target(index), address="nowhere.invalid") for index in (1, 2, 3)]
    staged = nodes.stage(["~/big.bin"], on=targets, fan_out=MB)
    assert (staged.sent, staged.fetched) == (3 * len(data), 0)
    assert nodes.there(3, staged.paths["~/big.bin"]).read_bytes() == data


def test_what_only_an_unreachable_node_has_cannot_be_fetched(nodes: Apart) -> None:
    write(nodes.homes[0] / "big.bin", 1000)
    targets = [replace(nodes.target(index), address="nowhere.invalid") for index in (1, 2)]
    with pytest.raises(Unreachable, match=r"node-2: cannot fetch ~/big.bin from node-1 \(nowhere.invalid:\d+\)"):
        nodes.stage(["~/big.bin"], on=targets)


def test_a_wrong_token_gets_nothing_and_the_right_one_serves_once(nodes: Apart, session: NodeSession) -> None:
    data = write(nodes.homes[0] / "big.bin", MB)
    content = document(nodes.homes[0] / "big.bin")
    serve = {"path": "~/big.bin", "content": content, "address": "127.0.0.1", "token": TOKEN}
    port = session.ask("serve", **serve)["port"]
    for wrong in ("", "4" * 64, TOKEN[:-1], TOKEN + "5", "x" * 5000):
        assert ask(port, wrong, [[0, 0]]) == b""
    assert ask(port, TOKEN, [[0, 10]]) == data[10:]
    assert ask(port, TOKEN, [[0, 0]]) == b""


def test_a_transfer_that_broke_goes_on_where_it_was(nodes: Apart, session: NodeSession) -> None:
    data = write(nodes.here / "big.bin", 3 * MB)
    content = document(nodes.here / "big.bin")
    with socket.create_server(("127.0.0.1", 0)) as half:
        port = half.getsockname()[1]

        def send_half() -> None:
            with half.accept()[0] as connection, connection.makefile("rb") as requests:
                requests.readline()
                assert json.loads(requests.readline()) == [[0, 0]]
                connection.sendall(data[: 2 * MB])

        threading.Thread(target=send_half, daemon=True).start()
        fetch = {"workdir": "~/work", "content": content, "name": "big.bin", "address": "127.0.0.1", "token": TOKEN}
        answer = session.ask("fetch", port=port, **fetch)
    assert answer == {**answer, "broken": "the connection was closed", "received": 2 * MB}
    with NodeSession.connect(nodes.node(2)) as other:
        (nodes.homes[1] / "big.bin").write_bytes(data)
        serve = {"path": "~/big.bin", "content": content, "address": "127.0.0.1", "token": TOKEN}
        answer = session.ask("fetch", port=other.ask("serve", **serve)["port"], **fetch)
    assert answer["received"] == MB
    assert Path(answer["path"]).read_bytes() == data
