"""What the nodes of an attempt are told to do, as plain documents. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.cluster.hostfile import Node
from engine.dispatch.placement import Seat, world_size
from engine.errors import Refused
from engine.spec.sections import Placement

PACKAGES = ("plumbline", "torch", "deepspeed", "transformers")  # what a node's Python must have, in one version


def job_document(
    seats: Sequence[Seat], seat: Seat, node: Node, placement: Placement, *, attempt: int, address: str, port: int
) -> dict[str, Any]:
    """Return the job of one node's agent. Its `argv` are arguments of the node's Python; `{run_dir}` stands for the
    run directory, whose full path only the node knows.

    address, port: where the ranks meet, on node 0.
    """
    return {
        "node": seat.index,
        "nodes": len(seats),
        "world_size": world_size(seats),
        "ranks": [{"rank": rank, "local_rank": local} for local, rank in enumerate(seat.ranks)],
        "master_address": address,
        "master_port": port,
        "threads": placement.threads,
        "interface": node.interface,
        # -P: nothing that lies in the run directory is imported.
        "argv": [
            *("-P", "-m", "engine.cli", "train", "{run_dir}/spec.yaml"),
            *("--run-dir", "{run_dir}", "--attempt", str(attempt)),
        ],
        "env": {},
    }


def require_equal_versions(versions: Sequence[dict[str, str]], hosts: Sequence[str]) -> None:
    """Check that all nodes run the same software. Raises Refused if two of them differ."""
    for found, host in zip(versions, hosts, strict=True):
        for name, version in found.items():
            if version != versions[0][name]:
                raise Refused(
                    f"{host} has {name} {version}, {hosts[0]} has {versions[0][name]}.",
                    hint="Install the same versions on all nodes.",
                )
