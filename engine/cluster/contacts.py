"""All nodes of a hostfile asked at the same time; one that is dead or slow holds up none of the others."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar

from engine.cluster.channel import Transport
from engine.cluster.dial import connect
from engine.cluster.hostfile import Node
from engine.cluster.session import NodeSession
from engine.errors import PlumblineError, Unreachable

CONNECT_SECONDS = 8.0  # to connect, log in and start a companion, for each eight nodes
CONNECTS_AT_ONCE = 8
ANY_PYTHON = "python3"  # a companion needs no package, so any will do where the chosen one does not start

Answer = TypeVar("Answer")
Dial = Callable[[Node], Transport]


class Contact:
    """A node, and the companion that answers for it; or why there is none."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.error: PlumblineError | None = None
        self.transport: Transport | None = None
        self.python = node.python  # that its companion runs on
        self._session: NodeSession | None = None
        self._lock = threading.Lock()
        self._closed = False

    @property
    def session(self) -> NodeSession:
        """The companion. Of one thread at a time."""
        assert self._session is not None, "asked for before it was opened"
        return self._session

    def open(self, dial: Dial) -> None:
        """Connect and start a companion. Raises Unreachable, InvalidInput."""
        transport = dial(self.node)
        with self._lock:
            if self._closed:  # given up meanwhile
                transport.close()
                return
            self.transport = transport
        self._session, self.python = _companion(transport, self.node.python)

    def another_session(self) -> NodeSession:
        """Start a further companion over the same connection. Raises Unreachable."""
        assert self.transport is not None, "asked for before it was opened"
        return NodeSession.over(self.transport, self.python)

    def close(self) -> None:
        """Let the node go."""
        with self._lock:
            self._closed = True
            if self.transport is not None:
                self.transport.close()


class Contacts:
    """The nodes, each with its own connection, for as long as the context lasts."""

    def __init__(self, nodes: Sequence[Node], dial: Dial = connect) -> None:
        """Connect to all; whoever does not answer has an `error` then."""
        self.all = [Contact(node) for node in nodes]
        rounds = math.ceil(len(nodes) / CONNECTS_AT_ONCE)
        self.ask(lambda contact: contact.open(dial), seconds=CONNECT_SECONDS * rounds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for contact in self.all:
            contact.close()

    @property
    def up(self) -> list[Contact]:
        """Those that have answered so far."""
        return [contact for contact in self.all if contact.error is None]

    def ask(
        self,
        work: Callable[[Contact], Answer],
        *,
        seconds: float | None,
        of: Sequence[Contact] | None = None,
    ) -> dict[str, Answer]:
        """Do some work with several nodes at once, and return what came of it, by host.

        A node with which it fails, or is late, has an `error` then, is missing in the answer, and is asked no more.

        Args:
            work: what to do; it may raise PlumblineError.
            seconds: the longest to wait; None: as long as it takes.
            of: with which nodes; None: with all that have answered so far.
        """
        contacts = [contact for contact in (self.up if of is None else of) if contact.error is None]
        answers: dict[str, Answer] = {}
        errors: dict[str, PlumblineError] = {}

        def one(contact: Contact) -> None:
            host = contact.node.host
            try:
                answers[host] = work(contact)
            except PlumblineError as error:
                errors[host] = error
            except Exception as error:  # a fault of ours, or of a library, with one node must not hide the others
                errors[host] = Unreachable(f"{type(error).__name__}: {error}.", where=host)

        threads = [threading.Thread(target=one, args=(contact,), daemon=True) for contact in contacts]
        for thread in threads:
            thread.start()
        deadline = None if seconds is None else time.monotonic() + seconds
        for thread in threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        answered = dict(answers)  # as of now: a late thread may still come to something
        for contact in contacts:
            host = contact.node.host
            if host not in answered:
                contact.error = errors.get(host) or Unreachable(
                    f"does not answer within {seconds or 0:g} s.",
                    hint="Is it overloaded, or does its disk hang?",
                    where=host,
                )
                contact.close()
        return answered


def _companion(transport: Transport, python: str) -> tuple[NodeSession, str]:
    """Start a companion with the chosen Python, else with any. Raises Unreachable with what the chosen one says."""
    try:
        return _greeted(transport, python), python
    except Unreachable as error:
        try:
            return _greeted(transport, ANY_PYTHON), ANY_PYTHON
        except Unreachable:
            raise error from None


def _greeted(transport: Transport, python: str) -> NodeSession:
    session = NodeSession.over(transport, python)
    try:
        session.ask("clock")
    except BaseException:
        session.close()
        raise
    return session
