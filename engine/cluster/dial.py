"""Which way leads to a node."""

from __future__ import annotations

from engine.cluster.channel import Transport
from engine.cluster.hostfile import Node
from engine.cluster.local import LocalTransport


def connect(node: Node) -> Transport:
    """Return a way to the node: none but itself for `localhost`, one SSH connection for every other host.

    Raises:
        Unreachable: if there is no way, with one sentence that names host, port and cause.
        InvalidInput: if the SSH configuration cannot be read.
    """
    if node.is_local:
        return LocalTransport(node)
    from engine.cluster.ssh import SSHTransport  # paramiko takes a while, and only SSH needs it

    return SSHTransport.connect(node)
