"""The network between the nodes, measured: round trips and throughput of all pairs, and sums over all ranks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import engine
from engine.cluster.contacts import Contact, Contacts
from engine.cluster.hostfile import Node
from engine.cluster.slowness import Pair
from engine.cluster.words import last_words
from engine.errors import PlumblineError, RunFailed

STREAMS = 4
ANSWER_SECONDS = 40.0
ALLREDUCE_BYTES = 64 << 20
ALLREDUCE_SECONDS = 2.0
ALLREDUCE_LIMIT_SECONDS = 180.0  # with the start of torch on a slow file system, and a peer that never comes

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured. A pair that could not be is missing, and `problems` says why, by pair."""

    hosts: tuple[str, ...]  # that answered, in the order of the hostfile
    latency: Mapping[Pair, float]  # seconds of a round trip, the median
    throughput: Mapping[Pair, float]  # bytes a second
    problems: Mapping[Pair, str]
    allreduce: Mapping[str, Any] | None  # backend, ranks, bytes, seconds, bus_bandwidth (bytes a second)
    allreduce_problem: str | None = None
    unreachable: Mapping[str, PlumblineError] = field(default_factory=dict)


def tournament(names: Sequence[str]) -> Iterator[list[Pair]]:
    """Yield rounds of disjoint pairs, in which each ordered pair comes once (the circle method)."""
    ring: list[str | None] = [*names, *([None] if len(names) % 2 else [])]
    for _ in range(len(ring) - 1):
        half = len(ring) // 2
        pairs = [(a, b) for a, b in zip(ring[:half], reversed(ring[half:]), strict=True) if a and b]
        if pairs:
            yield pairs
            yield [(b, a) for a, b in pairs]
        ring[1:] = [ring[-1], *ring[1:-1]]


def measure(nodes: Sequence[Node], *, seconds: float, allreduce: bool, say: Say) -> Measured:
    """Measure all pairs, and the sum over all ranks if it is wanted.

    Args:
        nodes: of one hostfile.
        seconds: for the throughput of each ordered pair.
        allreduce: whether torch is started on all nodes to sum there.
        say: hears what is measured now.
    """
    with Contacts(nodes) as contacts:
        unreachable = {contact.node.host: contact.error for contact in contacts.all if contact.error is not None}
        latency: dict[Pair, float] = {}
        throughput: dict[Pair, float] = {}
        problems: dict[Pair, str] = {}
        rounds = list(tournament([contact.node.host for contact in contacts.up]))
        lasting = len(rounds) * (seconds + ANSWER_SECONDS) + 60.0
        targets = _listeners(contacts, lasting)
        for number, pairs in enumerate(rounds, 1):
            say(f"pairs of nodes, round {number} of {len(rounds)}")
            tried = _one_round(contacts, pairs, targets, operation="latency")
            latency |= {pair: value for pair, value in tried.items() if isinstance(value, float)}
            problems |= {pair: value for pair, value in tried.items() if isinstance(value, str)}
            tried = _one_round(contacts, pairs, targets, operation="throughput", during=seconds, streams=STREAMS)
            throughput |= {pair: value for pair, value in tried.items() if isinstance(value, float)}
            problems |= {pair: value for pair, value in tried.items() if isinstance(value, str)}
        summed: Mapping[str, Any] | None = None
        why_not: str | None = None
        if allreduce and len(contacts.up) > 1:
            say("sums over all ranks")
            summed, why_not = _allreduce(contacts)
        hosts = tuple(contact.node.host for contact in contacts.all if contact.node.host not in unreachable)
        return Measured(hosts, latency, throughput, problems, summed, why_not, unreachable)


def _listeners(contacts: Contacts, lasting: float) -> Mapping[str, Mapping[str, Any]]:
    def listener(contact: Contact) -> Mapping[str, Any]:
        told = contact.session.ask("listen", lasting=lasting)
        return {**told, "name": contact.node.host, "address": contact.session.address}

    return contacts.ask(listener, seconds=ANSWER_SECONDS)


def _one_round(
    contacts: Contacts, pairs: Sequence[Pair], targets: Mapping[str, Mapping[str, Any]], **wish: Any
) -> dict[Pair, float | str]:
    """Measure disjoint pairs at the same time; return the value of each, or a sentence."""
    to = {a: b for a, b in pairs if b in targets}

    def one(contact: Contact) -> float | str:
        try:
            answer = contact.session.ask(
                target=targets[to[contact.node.host]],
                seconds=ANSWER_SECONDS,
                interface=contact.node.interface,
                **wish,
            )
        except RunFailed as error:
            return error.message
        return float(answer["value"])

    asking = [contact for contact in contacts.up if contact.node.host in to]
    answers = contacts.ask(one, seconds=2 * ANSWER_SECONDS, of=asking)
    return {(host, to[host]): value for host, value in answers.items()}


def _allreduce(contacts: Contacts) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return what rank 0 measured, or a sentence on why nothing was."""
    assert engine.__file__ is not None
    program = (Path(engine.__file__).parent / "train" / "allreduce.py").read_text(encoding="utf-8")
    up = contacts.up
    gpus = contacts.ask(lambda contact: len(contact.session.ask("vitals")["gpus"]), seconds=ANSWER_SECONDS, of=up)
    if len(gpus) < len(up):
        return None, _first_error(up)
    ranks = min(*(contact.node.slots for contact in up), *gpus.values()) if all(gpus.values()) else 1
    first = up[0]
    port = str(first.session.ask("listen", lasting=0.0)["port"])
    numbers = {contact.node.host: number for number, contact in enumerate(up)}
    failures: list[str] = []

    def run(contact: Contact) -> Mapping[str, Any] | None:
        said: list[str] = []
        sizes = (numbers[contact.node.host], len(up), ranks, ALLREDUCE_BYTES, ALLREDUCE_SECONDS)
        answer = contact.session.ask(
            "run",
            seconds=None,
            on_piece=lambda header, _: said.append(str(header["line"])),
            argv=[contact.node.python, "-c", program, *map(str, sizes)],
            env={"MASTER_ADDR": first.session.address, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"},
            interface=contact.node.interface,
            towards=first.session.address,
            limit=ALLREDUCE_LIMIT_SECONDS,
        )
        if answer["code"] != 0:
            failure = RunFailed(f"{last_words(said)}.", where=contact.node.host)
            failures.append(str(failure))
            for other in up:  # they would wait for this one for a minute
                other.close()
            raise failure
        documents = [line for line in said if line.startswith("{")]
        return json.loads(documents[-1]) if documents else None

    told = contacts.ask(run, seconds=2 * ALLREDUCE_LIMIT_SECONDS, of=up)
    document = next((answer for answer in told.values() if answer is not None), None)
    if document is not None and len(told) == len(up):
        return document, None
    return None, failures[0] if failures else _first_error(up)


def _first_error(contacts: Sequence[Contact]) -> str:
    return next((str(contact.error) for contact in contacts if contact.error is not None), "nothing was told.")
