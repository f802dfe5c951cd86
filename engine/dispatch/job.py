"""What the nodes of an attempt are told to do, as plain documents. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.cluster.checking import PACKAGES
from engine.cluster.hostfile import Node
from engine.dispatch.placement import Seat, world_size
from engine.errors import Refused
from engine.spec.models import AnySpec, Kind

_RETRIEVAL = ("faiss-cpu", "sentence-transformers")
_COMMANDS = {
    Kind.SIM: ("engine.cluster.simulation",),
    Kind.RAG: ("engine.cli", "rag", "build"),
    Kind.EVAL: ("engine.cli", "eval"),
}


def command_of(kind: Kind) -> tuple[str, ...]:
    """Return the module that runs a job of a kind, and its first arguments; the spec follows."""
    return _COMMANDS.get(kind, ("engine.cli", "train"))


def packages_of(kind: Kind) -> tuple[str, ...]:
    """Return what a node's Python must have, in one version on all nodes."""
    if kind is Kind.SIM:
        return ()
    if kind in (Kind.RAG, Kind.EVAL):
        return (*(name for name in PACKAGES if name != "deepspeed"), *_RETRIEVAL)
    return PACKAGES


def job_document(
    seats: Sequence[Seat],
    seat: Seat,
    node: Node,
    spec: AnySpec,
    *,
    attempt: int,
    address: str,
    port: int,
    code: str | None,
    holder: Mapping[str, str],
) -> dict[str, Any]:
    """Return the job of one node's agent. Its `argv` are arguments of the node's Python; `{run_dir}` stands for the
    run directory, whose full path only the node knows.

    Args:
        seats: of all nodes.
        seat: of this node.
        node: this node.
        spec: what runs.
        attempt: its number.
        address: where the ranks meet, on node 0.
        port: likewise.
        code: folder on this node with the `engine` package that runs; None: the one that its Python has.
        holder: what the leases of its slots say of who holds them.
    """
    # -P: nothing that lies in the run directory is imported.
    program = ["-P", "-m", *command_of(spec.kind)]
    return {
        "node": seat.index,
        "nodes": len(seats),
        "world_size": world_size(seats),
        "ranks": [{"rank": rank, "local_rank": local} for local, rank in enumerate(seat.ranks)],
        "slot_numbers": list(seat.slot_numbers),
        "leases": True,
        "share": spec.placement.share,
        "holder": dict(holder),
        "master_address": address,
        "master_port": port,
        "threads": spec.placement.threads,
        "interface": node.interface,
        "argv": [*program, "{run_dir}/spec.yaml", "--run-dir", "{run_dir}", "--attempt", str(attempt)],
        "code": code,
        "env": {},
    }


def require_equal_versions(versions: Sequence[Mapping[str, str]], hosts: Sequence[str]) -> None:
    """Check that all nodes run the same software. Raises Refused if two of them differ."""
    for found, host in zip(versions, hosts, strict=True):
        for name, version in found.items():
            if version != versions[0][name]:
                raise Refused(
                    f"{host} has {name} {version}, {hosts[0]} has {versions[0][name]}.",
                    hint="Install the same versions on all nodes.",
                )
