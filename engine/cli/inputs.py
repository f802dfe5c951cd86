"""References in specs, for the commands that run, plan or print them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from engine.cli.output import say
from engine.cli.settings import Settings
from engine.errors import NotFound, PlumblineError

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.spec.models import AnySpec
    from engine.store.database import Store
    from engine.store.inputs import Input


def look_up_references(
    settings: Settings, spec: AnySpec, hosts: Hostfile, where: str, *, but: Collection[str] = ()
) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what they mean; say so to people.

    Args:
        settings: with the database.
        spec: as it was written.
        hosts: where it is to run.
        where: the file or experiment that has the spec, for errors.
        but: names in references that stay as they are.

    Raises:
        InvalidInput, NotFound, Refused: if they mean nothing.
    """
    from engine.dispatch.inputs import resolve_references
    from engine.spec.references import references_of

    try:
        references = {key: each for key, each in references_of(spec).items() if each.name not in but}
        if not references:
            return spec, []
        if not settings.database.exists():
            key, reference = next(iter(references.items()))
            raise NotFound(
                f"{key} is {reference.text}, and there is no database to look it up in: {settings.database}.",
                hint=f"Name one with --db PATH, or give a folder: --set {key}=FOLDER.",
            )
        resolved, inputs = resolve_references(settings.open_store(), spec, hosts, but=but)
    except PlumblineError as error:
        error.where = error.where or where
        raise
    for taken in inputs:
        say(settings, f"{taken.reference} is {taken.path}, made by {made_by(taken, taken.parent_id)}.")
    return resolved, inputs


def pin_references(
    settings: Settings, spec: AnySpec, after: Collection[str], where: str, *, but: Collection[str] = ()
) -> tuple[AnySpec, list[str]]:
    """Return the spec and the experiments that it must wait for, since they are still to make what it takes; say so.

    Args:
        settings: with the database.
        spec: as it was written.
        after: ids of experiments that it comes after anyway.
        where: the file that has the spec, for errors.
        but: names in references that stay as they are.

    Raises:
        InvalidInput: if a reference is not of the form that they have.
    """
    from engine.dispatch.inputs import pin_awaited
    from engine.spec.references import references_of

    try:
        if not references_of(spec) or not settings.database.exists():
            return spec, []
        spec, awaited = pin_awaited(settings.open_store(), spec, after, but=but)
    except PlumblineError as error:
        error.where = error.where or where
        raise
    if awaited:
        say(settings, f"It begins when {' and '.join(awaited)} has made what it takes.")
    return spec, awaited


def made_by(taken: Input, name: str) -> str:
    """Return "facts-sft (sft-0012, step 600, sha 1a2b3c4d5e6f)". name: of the parent."""
    known_as = [] if name == taken.parent_id else [taken.parent_id]
    step = [] if taken.step is None else [f"step {taken.step}"]
    digest = [] if taken.sha256 is None else [f"sha {taken.sha256[:12]}"]
    facts = ", ".join([*known_as, *step, *digest])
    return f"{name} ({facts})" if facts else name


def spec_to_edit(store: Store, identity: str) -> AnySpec:
    """Return the spec of an experiment with references to the very experiments it took from, in place of paths."""
    from engine.spec.references import parse, with_paths
    from engine.store import experiments, inputs

    taken = [each.input for each in inputs.inputs_of(store, identity)]
    pinned = {each.path: parse(each.reference, identity).of(each.parent_id) for each in taken}
    return with_paths(experiments.get_spec(store, identity), pinned)
