"""Where an experiment runs and ran: the nodes that one asks about it, and on which lies what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cluster.hostfile import Hostfile, Node, local_hostfile, parse_hostfile
from engine.dispatch.placement import from_rows
from engine.store import attempts, experiments

if TYPE_CHECKING:
    from engine.store.database import Store


def hostfile_of(store: Store, identity: str) -> Hostfile:
    """Return the hostfile that an experiment was launched with. Raises NotFound, InvalidInput."""
    text = experiments.hostfile_text(store, identity)
    return local_hostfile() if text is None else parse_hostfile(text, identity)


def nodes_of(store: Store, identity: str) -> dict[str, Node]:
    """Return the nodes that one talks to about an experiment, by the hosts of its seats.

    With Slurm that is its login node for all of them: it sees what they write.
    """
    hosts = hostfile_of(store, identity)
    return {node.host: node if hosts.slurm is None else hosts.slurm.login for node in hosts.nodes}


def homes(store: Store, identity: str) -> list[Node]:
    """Return the nodes on which the last attempt wrote, each once, rank 0's first; none if there was no attempt."""
    launched = attempts.list_attempts(store, identity)
    nodes = nodes_of(store, identity)
    seats = from_rows(launched[-1].placement) if launched else ()
    return list(dict.fromkeys(nodes[seat.host] for seat in seats if seat.host in nodes))
