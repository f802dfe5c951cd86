"""The spec of an experiment, to be edited and launched again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.store import experiments, inputs

if TYPE_CHECKING:
    from engine.spec.models import AnySpec
    from engine.store.database import Store


def spec_to_edit(store: Store, identity: str) -> AnySpec:
    """Return the spec of an experiment with references to the very experiments it took from, in place of paths."""
    from engine.spec.references import parse, with_paths

    taken = [each.input for each in inputs.inputs_of(store, identity)]
    pinned = {each.path: parse(each.reference, identity).of(each.parent_id) for each in taken}
    return with_paths(experiments.get_spec(store, identity), pinned)
