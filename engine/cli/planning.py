"""The plan of a spec on the nodes of a hostfile, for the commands that print it or refuse by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.cli.output import say
from engine.cli.settings import Settings

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.plan.place import Place
    from engine.spec.models import AnySpec


def seats_and_place(spec: AnySpec, hosts: Hostfile, gpu_memory: str | None) -> tuple[tuple[Seat, ...], Place]:
    """Return what a run takes of the nodes, and what its ranks have.

    gpu_memory: of one GPU, as "80GB"; None: what is known of this machine, or the usual.

    Raises:
        Refused: if the nodes have less than the spec asks for.
        InvalidInput: if that is no amount of memory.
    """
    from engine.dispatch.fitting import place_at
    from engine.dispatch.placement import place
    from engine.plan.sizes import parse_size

    given = None if gpu_memory is None else parse_size(gpu_memory)
    seats = place(hosts.nodes, spec.placement)
    return seats, place_at(hosts, seats, given)


def refuse_what_cannot_run(
    settings: Settings, spec: AnySpec, hosts: Hostfile, *, where: str, gpu_memory: str | None = None
) -> None:
    """Raise Refused if the plan of a run has errors; a run that cannot be planned here passes, with a warning.

    where: the file that has the spec, for errors.

    Raises:
        Refused: with the first error of the plan.
        InvalidInput: if `gpu_memory` is no amount of memory.
    """
    from engine.dispatch.fitting import require_fit

    _, place = seats_and_place(spec, hosts, gpu_memory)
    unchecked = require_fit(spec, place, where=where).unchecked
    if unchecked is not None:
        say(settings, f"warning: not checked whether it fits: {unchecked}")
