"""What a testbed's nodes stand on: loopback, or namespaces of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sshd of a node listens."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A program that lives on a node; the node's sshd is none."""

    pid: int  # as the node itself counts
    command: str
    attached: bool  # whether it is below a present SSH connection, as a companion is and an agent is not


class Ground(Protocol):
    """The nodes' daemons and programs. Nodes count from 1."""

    @property
    def places(self) -> Sequence[Place]:
        """Where each node's sshd listens."""
        ...

    @property
    def interface(self) -> str:
        """The network interface between the nodes."""
        ...

    @property
    def addresses(self) -> Mapping[str, str]:
        """By which the other nodes reach a node, by its name."""
        ...

    @property
    def proxy(self) -> Sequence[str]:
        """The command that connects to an address and a port of the nodes; empty where they are reached straight."""
        ...

    def start(self) -> None:
        """Start the nodes and wait until they answer. Raises RunFailed if one does not."""
        ...

    def start_daemons(self, indices: Sequence[int]) -> None:
        """Start sshd on these nodes again and wait until they answer. Raises RunFailed if one does not."""
        ...

    def end_daemon(self, index: int) -> None:
        """End the sshd of a node with its connections."""
        ...

    def sessions(self, index: int) -> list[int]:
        """Return the processes that serve the present connections to a node, one or two for each."""
        ...

    def signal(self, index: int, pids: Sequence[int], number: int) -> None:
        """Send a signal to processes of a node; those that have ended are passed over."""
        ...

    def processes(self, index: int) -> list[NodeProcess]:
        """Return the programs that live on a node."""
        ...

    def close(self) -> None:
        """End the nodes."""
        ...
