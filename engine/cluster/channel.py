"""What a way to a node can do: start a program there and exchange bytes with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

PIECE_BYTES = 65536  # most that one `receive` returns


class Channel(Protocol):
    """A program's standard input and output. One thread receives, one sends, any one closes."""

    def send(self, data: bytes) -> None:
        """Write all of it to the program's input. Raises Unreachable if the program or the connection is gone."""
        ...

    def receive(self, timeout: float) -> bytes:
        """Return what the program wrote next, at most 64 KiB; empty at the end of its output, and after `close`.

        Args:
            timeout: seconds to wait for the first byte.

        Raises:
            TimeoutError: if nothing came in time; ask again, nothing is lost.
            Unreachable: if the connection broke.
        """
        ...

    def errors(self) -> str:
        """Return the last 4 KiB of what the program wrote to standard error, for messages."""
        ...

    def close(self) -> None:
        """End the program's input and forget its output; a `receive` or `send` under way returns. Kills nothing."""
        ...


class Transport(Protocol):
    """A way to a node."""

    @property
    def host(self) -> str:
        """The node's name in the hostfile."""
        ...

    @property
    def address(self) -> str:
        """The name or address by which other nodes reach it."""
        ...

    def open(self, command: Sequence[str]) -> Channel:
        """Start a program in the home folder there; any thread may, several times.

        Args:
            command: the program and its arguments, which arrive exactly so: no shell sees them. `~/` at the beginning
                of the program's path stands for the home folder there.

        Raises:
            Unreachable: if the connection broke, or the node starts no further program; on this machine also if there
                is no such program. (Over SSH that is said by `errors`, after the end of the output.)
        """
        ...

    def close(self) -> None:
        """Close the connection and with it every channel."""
        ...
