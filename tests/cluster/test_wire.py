"""Listeners and connections on loopback: who answers is measured, who does not is told apart and named."""

from __future__ import annotations

import socket
import threading
import time
from itertools import permutations
from typing import Any

import pytest

from engine.cluster.bench import tournament
from engine.cluster.node import wire


def tell(header: Any, data: bytes = b"") -> None:
    raise AssertionError("nothing is told on the way")


def target(name: str = "node-2", **changes: Any) -> dict[str, Any]:
    return {"name": name, "address": "127.0.0.1", **wire.listen(tell, lasting=20.0), **changes}


def test_round_trips_and_throughput_are_measured_over_the_wire() -> None:
    there = target()
    assert 0 < wire.latency(tell, target=there)["value"] < 1
    assert wire.throughput(tell, target=there, interface="lo", during=0.1, streams=2)["value"] > 1e6


def test_whoever_does_not_answer_is_missed_with_the_reason_and_holds_up_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=_greet_wrongly, args=(other,), daemon=True).start()
        shut = _free_port()
        found = wire.reach(
            tell,
            targets=[
                target("well"),
                target("wrong", token="another"),
                target("shut", port=shut),
                target("other", port=other.getsockname()[1]),
                target("silent", port=silent.getsockname()[1]),
                target("nameless", address="no-such-host.invalid"),
            ],
            within=1.0,
        )
    assert list(found["reached"]) == ["well"]
    missed = found["missed"]
    assert missed["shut"] == f"127.0.0.1:{shut} refuses the connection"
    assert missed["other"] == "127.0.0.1 is another machine than other"
    assert missed["nameless"] == "the name no-such-host.invalid cannot be resolved"
    assert missed["silent"].endswith("does not answer within 1 s")
    assert missed["wrong"].endswith("closes the connection")


def test_a_measurement_that_fails_is_a_problem() -> None:
    shut = target(port=_free_port())
    for answer in (wire.latency(tell, target=shut), wire.throughput(tell, target=shut, during=0.1, streams=3)):
        assert answer == {"problem": f"127.0.0.1:{shut['port']} refuses the connection"}


def test_a_listener_is_gone_after_its_time() -> None:
    there = {"name": "a", "address": "127.0.0.1", **wire.listen(tell, lasting=0.0)}
    give_up = time.monotonic() + 20
    while wire.reach(tell, targets=[there], within=1.0)["reached"]:
        assert time.monotonic() < give_up


@pytest.mark.parametrize("of", range(9))
def test_a_tournament_plays_every_ordered_pair_once_and_each_node_once_a_round(of: int) -> None:
    names = [str(number) for number in range(of)]
    rounds = list(tournament(names))
    assert sorted(pair for pairs in rounds for pair in pairs) == sorted(permutations(names, 2))
    for pairs in rounds:
        players = [name for pair in pairs for name in pair]
        assert len(players) == len(set(players))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _greet_wrongly(listener: socket.socket) -> None:
    sock, _ = listener.accept()
    with sock:
        sock.recv(256)
        sock.sendall(b"SSH-2.0-another\n")
