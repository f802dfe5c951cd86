"""Whether a run can run where it is to run: by its plan, before it is queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from engine.cluster.hostfile import Hostfile
from engine.dispatch.placement import Seat, place
from engine.errors import PlumblineError, Refused
from engine.plan.memory import CPU_OVERHEAD, MemoryPlan
from engine.plan.place import Place, place_of
from engine.plan.reading import plan_run
from engine.plan.run import RunPlan
from engine.plan.sizes import parse_size
from engine.spec.models import AnySpec, TrainedSpec


class CannotRun(Refused):
    """A run is refused by its plan, and by nothing else: a launch that is forced queues it all the same."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What is known of a run that nothing speaks against."""

    memory: MemoryPlan | None = None  # of a rank; None: it cannot be said on this machine
    warnings: Sequence[str] = ()  # what is odd about it, in sentences
    unchecked: PlumblineError | None = None  # why it cannot be said
    plan: RunPlan | None = None  # all of it, if there is one


def place_at(hosts: Hostfile, seats: Sequence[Seat], gpu_memory: int | None = None) -> Place:
    """Return what the ranks of a run have. gpu_memory: bytes of a GPU; None: what this machine's have, or the usual."""
    local = all(node.is_local for node in hosts.nodes[: len(seats)])
    return place_of([seat.slots for seat in seats], local=local, gpu_memory=gpu_memory)


def seats_and_place(spec: AnySpec, hosts: Hostfile, gpu_memory: str | None) -> tuple[tuple[Seat, ...], Place]:
    """Return what a run takes of the nodes, and what its ranks have.

    gpu_memory: of one GPU, as "80GB"; None: what is known of this machine, or the usual.

    Raises:
        Refused: if the nodes have less than the spec asks for.
        InvalidInput: if that is no amount of memory.
    """
    given = None if gpu_memory is None else parse_size(gpu_memory)
    seats = place(hosts.nodes, spec.placement)
    return seats, place_at(hosts, seats, given)


def require_fit(spec: AnySpec, place: Place, *, where: str) -> Fit:
    """Return what is known of a run; one that cannot be planned on this machine passes.

    where: the file that has the spec, for errors.

    Raises:
        CannotRun: with the first error of its plan.
    """
    if not isinstance(spec, TrainedSpec):
        return Fit()
    # Most of what Python and its libraries take is shared by the ranks of a CPU: no reason to refuse a small run.
    leeway = CPU_OVERHEAD if place.on_cpu else 0
    try:
        plan = plan_run(spec, replace(place, capacity=place.capacity + leeway))
    except PlumblineError as error:
        return Fit(unchecked=error)
    if plan.errors:
        hint = "engine plan tells more; engine launch --force launches it all the same."
        if place.assumed and not plan.memory.fits:
            hint += " If the GPUs of the nodes have another size, its --gpu-memory SIZE says so."
        raise CannotRun(plan.errors[0], hint=hint, where=where)
    return Fit(replace(plan.memory, capacity=place.capacity), plan.warnings, plan=plan)
