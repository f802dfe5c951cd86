"""What the references of a spec mean: paths on the nodes that made it. Nodes that lack it are sent it at the start."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.dispatch.homes import homes
from engine.errors import Refused
from engine.spec.references import references_of, with_paths
from engine.store.inputs import Input, awaited, look_up

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.spec.models import AnySpec
    from engine.store.database import Store


def resolve_references(
    store: Store, spec: AnySpec, hosts: Hostfile, *, but: Collection[str] = ()
) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what each of them means.

    but: names in references that stay as they are.

    Raises:
        InvalidInput: if one is not of the form that references have.
        Refused: if there is no such output.
    """
    found: dict[str, Input] = {}
    for key, reference in references_of(spec).items():
        if reference.text in found or reference.name in but:
            continue
        try:
            taken = look_up(store, reference)
        except Refused as error:
            raise Refused(f"{key} is {reference.text}, but {error.message}", hint=error.hint) from None
        if all(node.is_local for node in [*hosts.nodes, *homes(store, taken.parent_id)]):
            taken = replace(taken, path=str(Path(taken.path).expanduser()))
        found[reference.text] = taken
    return with_paths(spec, {text: taken.path for text, taken in found.items()}), list(found.values())


def pin_awaited(
    store: Store, spec: AnySpec, after: Collection[str] = (), *, but: Collection[str] = ()
) -> tuple[AnySpec, list[str]]:
    """Return the spec with the ids of experiments in references to what these are still to make, and these ids.

    Args:
        store: where they are looked up.
        spec: as it was written.
        after: ids of experiments that it comes after anyway.
        but: names in references that stay as they are.
    """
    pinned: dict[str, str] = {}
    parents: list[str] = []
    for reference in references_of(spec).values():
        parent = None if reference.name in but else awaited(store, reference, after)
        if parent is not None:
            pinned[reference.text] = reference.of(parent)
            parents.append(parent)
    return with_paths(spec, pinned), list(dict.fromkeys(parents))


def made_elsewhere(store: Store, inputs: Sequence[Input]) -> set[str]:
    """Return the paths of those that were made on other machines: they are brought to this one if a run needs them."""
    return {each.path for each in inputs if any(not node.is_local for node in homes(store, each.parent_id))}
