"""A companion of one's own on a node, for who asks and waits: commands, and what takes long."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from engine.cluster import pushed
from engine.cluster.channel import Channel, Transport
from engine.cluster.frames import FrameReader, encode
from engine.cluster.hostfile import Node
from engine.errors import Barred, RunFailed, Unreachable

ANSWER_SECONDS = 30.0
READ_SECONDS = 20.0  # within which a companion has read its own program
SILENCE_SECONDS = 10.0  # without even a beat
_LAST_WORDS_SECONDS = 2.0  # until the end of a program that reads no more is seen

Piece = Callable[[Mapping[str, Any], bytes], None]


def open_companion(transport: Transport, python: str) -> Channel:
    """Start a companion. Raises Unreachable if the node starts none, with what it says."""
    channel = transport.open(pushed.companion_command(python))
    # A program that reads nothing, and does not end either, must not hold up whoever calls.
    watchdog = threading.Timer(READ_SECONDS, channel.close)
    watchdog.daemon = True
    watchdog.start()
    try:
        channel.send(pushed.packed())
    except Unreachable:
        # It may have ended before it read anything; then its own words tell more than a broken pipe.
        with contextlib.suppress(TimeoutError):
            if not channel.receive(_LAST_WORDS_SECONDS):
                raise hung_up(channel, transport.host, python, greeted=False) from None
        raise
    finally:
        watchdog.cancel()
    return channel


def hung_up(channel: Channel, host: str, python: str, *, greeted: bool) -> Unreachable:
    """Return what to say of a companion whose output has ended."""
    said = channel.errors().strip().splitlines()
    if greeted:
        return Unreachable("the connection was closed.", where=host)
    return Barred(
        f"{python} could not be started there: {said[-1] if said else 'it says nothing'}.",
        hint="Name the node's Python with python= in the hostfile.",
        where=host,
    )


class NodeSession:
    """Asks one thing at a time, and waits for the answer. Of one thread."""

    def __init__(self, channel: Channel, host: str, python: str, address: str, transport: Transport | None) -> None:
        self.host, self.address = host, address
        self._channel, self._python, self._transport = channel, python, transport
        self._reader = FrameReader()
        self._greeted = False
        self._ids = itertools.count(1)

    @classmethod
    def connect(cls, node: Node) -> Self:
        """Connect to a node and start a companion there; closing the session closes the connection.

        Raises:
            Unreachable, InvalidInput: if there is no way.
        """
        from engine.cluster.dial import connect

        transport = connect(node)
        try:
            return cls(open_companion(transport, node.python), node.host, node.python, transport.address, transport)
        except BaseException:
            transport.close()
            raise

    @classmethod
    def over(cls, transport: Transport, python: str) -> Self:
        """Start a companion over a connection that stays when the session is closed. Raises Unreachable."""
        return cls(open_companion(transport, python), transport.host, python, transport.address, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the companion go."""
        self._channel.close()
        if self._transport is not None:
            self._transport.close()

    def ask(
        self,
        operation: str,
        *,
        seconds: float | None = ANSWER_SECONDS,
        on_piece: Piece | None = None,
        data: bytes = b"",
        **arguments: Any,
    ) -> Mapping[str, Any]:
        """Ask for an operation of the companion and return its last answer.

        Args:
            operation: its name.
            seconds: to wait for the answer; None: as long as the node gives signs of life.
            on_piece: takes the answers on the way to the last one, with their bytes.
            data: bytes for the operation.
            arguments: of the operation.

        Raises:
            Unreachable: if the connection breaks, or the answer does not come in time.
            RunFailed: if the operation says that it cannot: its `problem`, with the host as `where`.
        """
        identity = next(self._ids)
        self._channel.send(encode({"do": operation, "id": identity, **arguments}, data))
        began = heard = time.monotonic()
        while True:
            try:
                received = self._channel.receive(0.5)
            except TimeoutError:
                received = None
            now = time.monotonic()
            if received is None:
                silent, late = now - heard > SILENCE_SECONDS, seconds is not None and now - began > seconds
                if silent or late:
                    waited = SILENCE_SECONDS if silent else seconds
                    raise Unreachable(f"does not answer within {waited:g} s ({operation}).", where=self.host)
                continue
            if not received:
                raise hung_up(self._channel, self.host, self._python, greeted=self._greeted)
            heard = now
            answer = None
            for header, body in self._reader.feed(received):
                self._greeted = True
                if header.get("reply") != identity:
                    continue
                if header.get("more"):
                    if on_piece is not None:
                        on_piece(header, body)
                    continue
                answer = header
            if answer is not None:
                if "problem" in answer:
                    raise RunFailed(f"{answer['problem']}.", where=self.host)
                return answer
            if seconds is not None and now - began > seconds:
                raise Unreachable(f"does not answer within {seconds:g} s ({operation}).", where=self.host)

    def tell(self, operation: str, data: bytes = b"", **arguments: Any) -> None:
        """Send a request that needs no answer. Raises Unreachable if the connection broke."""
        self._channel.send(encode({"do": operation, **arguments}, data))
