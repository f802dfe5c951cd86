"""A spec that is to be launched: what it takes is looked up, and what cannot run is refused before it is queued."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.cli.inputs import look_up_references, pin_references
from engine.cli.planning import refuse_what_cannot_run
from engine.cli.settings import Settings
from engine.errors import Refused

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.spec.models import AnySpec
    from engine.store.inputs import Input


@dataclass(frozen=True, slots=True)
class Ready:
    """A spec that may be queued."""

    spec: AnySpec
    inputs: list[Input]  # what it takes from others; none as long as something is still to be made
    awaited: list[str]  # ids of experiments that are still to make what it takes


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where and how things are launched."""

    hosts: Hostfile | None = None  # null: this machine, one slot
    after: list[str] = field(default_factory=list)  # ids of experiments that must have succeeded
    gpu_memory: str | None = None  # of one GPU, for the plan
    force: bool = False  # also what its plan says cannot run


def made_ready(
    settings: Settings, spec: AnySpec, grounds: Grounds, *, where: str, coming: Collection[str] = ()
) -> Ready:
    """Return what is to be queued.

    What is still to be made is looked up, and the plan made, when it has been.

    Args:
        settings: with the database.
        spec: its paths are absolute.
        grounds: where and how it is launched.
        where: the file that has the spec, for errors.
        coming: names in references that stand for what is queued together with it; these stay.

    Raises:
        InvalidInput, NotFound, Refused: if it cannot run.
    """
    from engine.cluster.hostfile import local_hostfile
    from engine.spec.references import references_of

    hosts = grounds.hosts or local_hostfile()
    spec, awaited = pin_references(settings, spec, grounds.after, where, but=coming)
    spec, inputs = looked_up(settings, spec, hosts, where=where, unmade=[*coming, *awaited])
    _refuse_what_is_missing(settings, spec, inputs, grounds, where)
    if not grounds.force and not references_of(spec):
        refuse_what_cannot_run(settings, spec, hosts, where=where, gpu_memory=grounds.gpu_memory)
    return Ready(spec, inputs, awaited)


def looked_up(
    settings: Settings, spec: AnySpec, hosts: Hostfile, *, where: str, unmade: Collection[str] = ()
) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what they mean; say so to people.

    As long as one of them is still to be made, they all stay references, those of the others by their ids.

    Args:
        settings: with the database.
        spec: its paths are absolute.
        hosts: where it is to run.
        where: the file or experiment that has the spec, for errors.
        unmade: names in references to what is still to be made.

    Raises:
        InvalidInput, NotFound, Refused: if one of the others means nothing.
    """
    from engine.spec.references import parse, references_of, with_paths

    found, inputs = look_up_references(settings, spec, hosts, where, but=unmade)
    if not references_of(found):
        return found, inputs
    pinned = {each.reference: parse(each.reference, where).of(each.parent_id) for each in inputs}
    return with_paths(spec, pinned), []


def _refuse_what_is_missing(
    settings: Settings, spec: AnySpec, inputs: list[Input], grounds: Grounds, where: str
) -> None:
    """Raise Refused if a file that it reads is not here; on other nodes it may be there."""
    from engine.dispatch.inputs import made_elsewhere
    from engine.spec.resolve import input_paths

    if grounds.hosts is not None:
        return
    brought = made_elsewhere(settings.open_store(), inputs) if inputs else set()
    missing = [str(path) for path in input_paths(spec) if str(path) not in brought and not path.exists()]
    if missing:
        raise Refused(f"needs {', '.join(missing)}, which is not there.", where=where)
