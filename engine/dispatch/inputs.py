"""What the references of a spec mean, as paths on the nodes where it will run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cluster.hostfile import Hostfile, Node, local_hostfile, parse_hostfile
from engine.dispatch.placement import from_rows, place
from engine.errors import Refused
from engine.spec.references import references_of, with_paths
from engine.store import attempts, experiments
from engine.store.inputs import Input, look_up

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store


def resolve_references(store: Store, spec: AnySpec, hosts: Hostfile) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what each of them means.

    Raises:
        InvalidInput: if one is not of the form that references have.
        Refused: if there is no such output, or a node that the spec takes does not see it.
    """
    found: dict[str, Input] = {}
    for key, reference in references_of(spec).items():
        if reference.text in found:
            continue
        try:
            taken = look_up(store, reference)
        except Refused as error:
            raise Refused(f"{key} is {reference.text}, but {error.message}", hint=error.hint) from None
        home, lies_on = _home(store, taken.parent_id)
        nodes = hosts.nodes[: len(place(hosts.nodes, spec.placement))]
        blind = [node.host for node in nodes if not _sees(node, hosts, home, lies_on)]
        if blind:
            raise Refused(
                f"{key} is {reference.text}, which lies on {', '.join(lies_on)}; {', '.join(blind)} cannot see it.",
                hint=f"Run it where {taken.parent_id} ran, or copy {taken.path} and give its path: --set {key}=PATH.",
            )
        if all(node.is_local for node in nodes):
            taken = replace(taken, path=str(Path(taken.path).expanduser()))
        found[reference.text] = taken
    return with_paths(spec, {text: taken.path for text, taken in found.items()}), list(found.values())


def _home(store: Store, identity: str) -> tuple[Hostfile, list[str]]:
    """Return the hostfile of an experiment, and the hosts that its last attempt ran on."""
    text = experiments.hostfile_text(store, identity)
    ran = from_rows(attempts.list_attempts(store, identity)[-1].placement)
    home = local_hostfile() if text is None else parse_hostfile(text, identity)
    return home, [seat.host for seat in ran]


def _sees(node: Node, hosts: Hostfile, home: Hostfile, lies_on: Collection[str]) -> bool:
    """Whether a node sees what lies in the work directory of other ones.

    It is one of them, or a hostfile says that it shares this work directory with one of them.
    """
    owners = [owner for owner in home.nodes if owner.host in lies_on]
    if any(_same(node, owner) for owner in owners):
        return True
    for known in (hosts, home):
        sharing = [other for other in known.nodes if other.shared and other.workdir == owners[0].workdir]
        if any(_same(node, one) and _same(owner, other) for one in sharing for other in sharing for owner in owners):
            return True
    return False


def _same(one: Node, other: Node) -> bool:
    return (one.host, one.ssh_config) == (other.host, other.ssh_config)
