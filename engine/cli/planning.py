"""The plan of a spec on the nodes of a hostfile, for the commands that print it or refuse by it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.cli.output import say
from engine.cli.settings import Settings
from engine.errors import PlumblineError, Refused

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
    from engine.dispatch.placement import place
    from engine.plan.place import place_of
    from engine.plan.sizes import parse_size

    given = None if gpu_memory is None else parse_size(gpu_memory)
    seats = place(hosts.nodes, spec.placement)
    local = all(node.is_local for node in hosts.nodes[: len(seats)])
    return seats, place_of([seat.slots for seat in seats], local=local, gpu_memory=given)


def refuse_what_cannot_run(
    settings: Settings, spec: AnySpec, hosts: Hostfile, *, where: str, gpu_memory: str | None = None
) -> None:
    """Raise Refused if the plan of a run has errors; a run that cannot be planned here passes, with a warning.

    where: the file that has the spec, for errors.

    Raises:
        Refused: with the first error of the plan.
        InvalidInput: if `gpu_memory` is no amount of memory.
    """
    from engine.plan.memory import CPU_OVERHEAD
    from engine.plan.reading import plan_run
    from engine.spec.models import TrainedSpec

    if not isinstance(spec, TrainedSpec):
        return
    _, place = seats_and_place(spec, hosts, gpu_memory)
    if place.on_cpu:
        # Most of what Python and its libraries take is shared by the ranks: no reason to refuse a small run.
        place = replace(place, capacity=place.capacity + CPU_OVERHEAD)
    try:
        plan = plan_run(spec, place)
    except PlumblineError as error:
        say(settings, f"warning: not checked whether it fits: {error}")
        return
    if plan.errors:
        hint = "engine plan tells more; --force launches it all the same."
        if place.assumed and not plan.memory.fits:
            hint += " If the GPUs of the nodes have another size, --gpu-memory SIZE says so."
        raise Refused(plan.errors[0], hint=hint, where=where)
