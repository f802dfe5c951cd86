"""Asks all nodes of a hostfile what the preflight wants to know."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import engine
from engine.cluster.contacts import Contact, Contacts
from engine.cluster.hostfile import Node
from engine.cluster.node import digests, probe
from engine.cluster.node.wire import ANSWER_SECONDS as REACH_SECONDS
from engine.cluster.preflight import SESSIONS, Facts, Here
from engine.errors import RunFailed, Unreachable

PACKAGES = ("plumbline", "torch", "deepspeed", "transformers")  # what a node's Python must have, in one version
PROBE_SECONDS = 40.0
_CLOCK_TRIES = 3

Progress = Callable[[str, str], None]  # host, and what it does now


def here(hostfile: str = "HOSTFILE", paths: Sequence[str] = ()) -> Here:
    """Return what the nodes are compared with.

    Args:
        hostfile: as commands name it.
        paths: inputs, whose hashes are wanted.
    """
    assert engine.__file__ is not None
    known = digests.hashes(lambda *_: None, workdir=None, paths=paths)["hashes"]
    return Here(version("plumbline"), probe.code_hash(Path(engine.__file__).parent), hostfile, known)


def probe_arguments(node: Node) -> dict[str, Any]:
    """Return what the companion's operation `probe` is asked for."""
    return {"python": node.python, "workdir": node.workdir, "packages": PACKAGES, "interface": node.interface}


def gather(nodes: Sequence[Node], *, paths: Sequence[str] = (), progress: Progress | None = None) -> list[Facts]:
    """Return the facts of all nodes, in their order; within seconds, but for inputs that were never hashed there.

    Args:
        nodes: of one hostfile.
        paths: inputs of a run, whose hashes are compared.
        progress: hears what takes long.
    """
    with Contacts(nodes) as contacts:
        skews = contacts.ask(_clock_skew, seconds=PROBE_SECONDS)
        sessions = contacts.ask(_sessions, seconds=PROBE_SECONDS)
        probes = contacts.ask(
            lambda contact: contact.session.ask("probe", seconds=PROBE_SECONDS, **probe_arguments(contact.node)),
            seconds=PROBE_SECONDS,
        )
        asked, missed = _reach(contacts)
        tokens = _tokens(contacts)
        hashed = contacts.ask(lambda contact: _hashes(contact, paths, progress), seconds=None) if paths else {}
        return [
            Facts(contact.node, error=contact.error)
            if contact.error is not None
            else Facts(
                contact.node,
                probes[host],
                None,
                *skews[host],
                sessions=sessions[host],
                asked=asked.get(host, ()),
                missed=missed.get(host, {}),
                sees_token=tokens.get(host),
                hashes=hashed[host]["hashes"] if paths else {},
                problems=hashed[host]["problems"] if paths else {},
            )
            for contact in contacts.all
            for host in [contact.node.host]
        ]


def _clock_skew(contact: Contact) -> tuple[float, float]:
    """Return by how many seconds the node's clock is ahead, and how wrong that may be: of the quickest answer."""
    tries = []
    for _ in range(_CLOCK_TRIES):
        sent = time.time()
        told = float(contact.session.ask("clock")["time"])
        took = time.time() - sent
        tries.append((took / 2, told - sent - took / 2))
    uncertainty, skew = min(tries)
    return skew, uncertainty


def _sessions(contact: Contact) -> int:
    """Return how many further programs, of SESSIONS, run at once on the connection."""
    assert contact.transport is not None
    with ExitStack() as opened:
        for number in range(SESSIONS):
            try:
                opened.callback(contact.transport.open(["cat"]).close)
            except Unreachable:
                return number
    return SESSIONS


def _reach(contacts: Contacts) -> tuple[dict[str, list[str]], dict[str, Mapping[str, str]]]:
    """Let every node connect to every other; return by host whom it tried, and whom it missed why."""
    if len(contacts.up) < 2:
        return {}, {}
    listening = contacts.ask(
        lambda contact: {
            **contact.session.ask("listen", lasting=3 * REACH_SECONDS),
            "name": contact.node.host,
            "address": contact.session.address,
        },
        seconds=PROBE_SECONDS,
    )

    def others(contact: Contact) -> list[Mapping[str, Any]]:
        return [target for host, target in listening.items() if host != contact.node.host]

    told = contacts.ask(
        lambda contact: contact.session.ask("reach", targets=others(contact), interface=contact.node.interface),
        seconds=PROBE_SECONDS,
    )
    asked = {host: [other for other in listening if other != host] for host in told}
    return asked, {host: answer["missed"] for host, answer in told.items()}


def _tokens(contacts: Contacts) -> dict[str, bool]:
    """Let the first node that says that its work directory is shared write there, and the others look."""
    sharing = [contact for contact in contacts.up if contact.node.shared and contact.node.workdir is not None]
    if len(sharing) < 2:
        return {}
    first = sharing[0].node
    left = contacts.ask(_leave_token, seconds=PROBE_SECONDS, of=sharing[:1]).get(first.host)
    if left is None:
        return {}
    seen = contacts.ask(
        lambda contact: bool(contact.session.ask("find_token", workdir=contact.node.workdir, token=left)["seen"]),
        seconds=PROBE_SECONDS,
        of=sharing[1:],
    )
    contacts.ask(
        lambda contact: contact.session.ask("remove_token", workdir=first.workdir, token=left),
        seconds=PROBE_SECONDS,
        of=sharing[:1],
    )
    return {first.host: True, **seen}


def _leave_token(contact: Contact) -> str | None:
    try:
        return str(contact.session.ask("leave_token", workdir=contact.node.workdir)["token"])
    except RunFailed:
        return None  # it cannot write there, which the probe says


def _hashes(contact: Contact, paths: Sequence[str], progress: Progress | None) -> Mapping[str, Any]:
    def reading(header: Mapping[str, Any], _: bytes) -> None:
        if progress is not None and "reading" in header:
            progress(contact.node.host, f"reads {header['reading']}")

    return contact.session.ask(
        "hashes", seconds=None, on_piece=reading, workdir=contact.node.workdir, paths=[str(path) for path in paths]
    )
