"""A spec that is to be launched: what it takes is looked up, and what cannot run is refused before it is queued."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.cluster.hostfile import local_hostfile
from engine.dispatch.fitting import Fit, require_fit, seats_and_place
from engine.errors import NotFound, PlumblineError, Refused

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.dispatch.records import Records
    from engine.spec.models import AnySpec
    from engine.store.inputs import Input


@dataclass(frozen=True, slots=True)
class Grounds:
    """Where and how things are launched."""

    hosts: Hostfile | None = None  # null: this machine, one slot
    after: Sequence[str] = ()  # ids of experiments that must have succeeded
    gpu_memory: str | None = None  # of one GPU, for the plan
    force: bool = False  # also what its plan says cannot run

    @property
    def hosts_or_here(self) -> Hostfile:
        """The nodes; without a hostfile this machine alone."""
        return self.hosts or local_hostfile()


@dataclass(frozen=True, slots=True)
class Ready:
    """A spec that may be queued."""

    spec: AnySpec
    inputs: Sequence[Input]  # what it takes from others; none as long as something is still to be made
    awaited: Sequence[str]  # ids of experiments that are still to make what it takes
    seats: Sequence[Seat]  # what it takes of nodes that are all free
    fit: Fit | None  # null: it was not looked whether it fits, since something is still to be made, or it is forced


def made_ready(records: Records, spec: AnySpec, grounds: Grounds, *, where: str, coming: Collection[str] = ()) -> Ready:
    """Return what is to be queued.

    What is still to be made is looked up, and the plan made, when it has been.

    Args:
        records: the database.
        spec: its paths are absolute.
        grounds: where and how it is launched.
        where: the file that has the spec, for errors.
        coming: names in references that stand for what is queued together with it; these stay.

    Raises:
        InvalidInput, NotFound, Refused: if it cannot run.
    """
    from engine.spec.references import references_of

    hosts = grounds.hosts_or_here
    spec, awaited = _pinned(records, spec, grounds.after, where, but=coming)
    spec, inputs = looked_up(records, spec, hosts, where=where, unmade=[*coming, *awaited])
    _refuse_what_is_missing(records, spec, inputs, grounds, where)
    seats, place = seats_and_place(spec, hosts, grounds.gpu_memory)
    if grounds.force or references_of(spec):
        return Ready(spec, inputs, awaited, seats, None)
    fit = require_fit(spec, place, where=where)
    if fit.unchecked is not None:
        records.tell(f"warning: not checked whether it fits: {fit.unchecked}")
    return Ready(spec, inputs, awaited, seats, fit)


def looked_up(
    records: Records, spec: AnySpec, hosts: Hostfile, *, where: str, unmade: Collection[str] = ()
) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what they mean; say so to people.

    As long as one of them is still to be made, they all stay references, those of the others by their ids.

    Args:
        records: the database.
        spec: its paths are absolute.
        hosts: where it is to run.
        where: the file or experiment that has the spec, for errors.
        unmade: names in references to what is still to be made.

    Raises:
        InvalidInput, NotFound, Refused: if one of the others means nothing.
    """
    from engine.spec.references import parse, references_of, with_paths

    found, inputs = look_up_references(records, spec, hosts, where, but=unmade)
    if not references_of(found):
        return found, inputs
    pinned = {each.reference: parse(each.reference, where).of(each.parent_id) for each in inputs}
    return with_paths(spec, pinned), []


def look_up_references(
    records: Records, spec: AnySpec, hosts: Hostfile, where: str, *, but: Collection[str] = ()
) -> tuple[AnySpec, list[Input]]:
    """Return the spec with paths for its references, and what they mean; say so to people.

    Args:
        records: the database.
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
        if not records.exists:
            key, reference = next(iter(references.items()))
            raise NotFound(
                f"{key} is {reference.text}, and there is no database to look it up in: {records.path}.",
                hint=f"Name one with --db PATH, or give a folder: --set {key}=FOLDER.",
            )
        resolved, inputs = resolve_references(records.store(), spec, hosts, but=but)
    except PlumblineError as error:
        error.where = error.where or where
        raise
    for taken in inputs:
        records.tell(f"{taken.reference} is {taken.path}, made by {taken.made_by(taken.parent_id)}.")
    return resolved, inputs


def _pinned(
    records: Records, spec: AnySpec, after: Collection[str], where: str, *, but: Collection[str]
) -> tuple[AnySpec, list[str]]:
    """Return the spec and the experiments that it must wait for, since they are still to make what it takes; say so."""
    from engine.dispatch.inputs import pin_awaited
    from engine.spec.references import references_of

    try:
        if not references_of(spec) or not records.exists:
            return spec, []
        spec, awaited = pin_awaited(records.store(), spec, after, but=but)
    except PlumblineError as error:
        error.where = error.where or where
        raise
    if awaited:
        records.tell(f"It begins when {' and '.join(awaited)} has made what it takes.")
    return spec, awaited


def _refuse_what_is_missing(
    records: Records, spec: AnySpec, inputs: Sequence[Input], grounds: Grounds, where: str
) -> None:
    """Raise Refused if a file that it reads is not here; on other nodes it may be there."""
    from engine.dispatch.inputs import made_elsewhere
    from engine.spec.resolve import input_paths

    if grounds.hosts is not None:
        return
    brought = made_elsewhere(records.store(), inputs) if inputs else set()
    missing = [str(path) for path in input_paths(spec) if str(path) not in brought and not path.exists()]
    if missing:
        raise Refused(f"needs {', '.join(missing)}, which is not there.", where=where)
