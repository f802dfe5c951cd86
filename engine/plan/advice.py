"""The lowest ZeRO stage that fits, with as little offload as can be, for each network of a run, and why."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.plan.memory import MemoryPlan, Role, plan_memory
from engine.plan.networks import Sharding
from engine.plan.place import Place
from engine.plan.sizes import in_words
from engine.spec.sections import Train

# What each way to spread a network costs in time, to compare runs of several networks by. Stages 1 and 2 cost next to
# nothing; 3 gathers all weights in each pass; offload moves states at each optimiser step, and parameters in each pass.
_TRAINED = (
    (Sharding(0), 0),
    (Sharding(1), 1),
    (Sharding(2), 2),
    (Sharding(3), 10),
    (Sharding(2, offload_optimizer=True), 30),
    (Sharding(3, offload_optimizer=True), 40),
    (Sharding(3, offload_optimizer=True, offload_parameters=True), 80),
)
# A network that only scores is moved once a rollout, or gathered once a micro-batch.
_FROZEN = (
    (Sharding(0), 0),
    (Sharding(0, offload_parameters=True), 4),
    (Sharding(3), 6),
    (Sharding(3, offload_parameters=True), 20),
)


@dataclass(frozen=True, slots=True)
class Advice:
    """How to spread each network, by name; for each the reason in a sentence."""

    shardings: Mapping[str, Sharding]
    reasons: Mapping[str, str]
    total: int  # bytes a rank at the peak


def advise(roles: Sequence[Role], train: Train, place: Place, *, micro_steps: int) -> Advice | None:
    """Return the cheapest shardings that fit; None if none do.

    Those of reward models are alike. A critic over the policy's base is spread as the policy is.
    """

    def planned(shardings: Mapping[str, Sharding]) -> MemoryPlan:
        return plan_memory(respread(roles, shardings), train, place, micro_steps=micro_steps)

    groups = _groups(roles)
    ladders = [_ladder(group[0], train, on_cpu=place.on_cpu) for group in groups]
    for rungs in _by_cost(ladders):
        chosen = _by_name(groups, [ladder[rung][0] for ladder, rung in zip(ladders, rungs, strict=True)])
        plan = planned(chosen)
        if plan.fits:
            reasons: dict[str, str] = {}
            for index, group in enumerate(groups):
                lower = None
                if rungs[index]:
                    sharding = ladders[index][rungs[index] - 1][0]
                    lower = (sharding, planned({**chosen, **dict.fromkeys((r.name for r in group), sharding)}))
                for role in group:
                    reasons[role.name] = _reason(chosen[role.name], plan, lower, alone=len(roles) == 1)
            return Advice(chosen, reasons, plan.total)
    return None


def respread(roles: Sequence[Role], shardings: Mapping[str, Sharding]) -> list[Role]:
    """Return the roles with other shardings, by name."""
    return [replace(role, sharding=shardings[role.name]) for role in roles]


def _groups(roles: Sequence[Role]) -> list[list[Role]]:
    """Return the roles that are spread alike."""
    groups: dict[str, list[Role]] = {}
    for role in roles:
        key = roles[0].name if role.network.shares_base else role.name.partition(".")[0]
        groups.setdefault(key, []).append(role)
    return list(groups.values())


def _ladder(role: Role, train: Train, *, on_cpu: bool) -> list[tuple[Sharding, int]]:
    """Return the ways to spread a network with what they cost, the cheapest first."""
    nvme = train.nvme_path is not None
    ladder = list(_FROZEN if role.network.frozen else _TRAINED)
    if train.precision == "fp16" and not role.network.frozen:
        del ladder[0]  # it needs ZeRO (engine/spec/sections.py)
    return [
        (replace(sharding, nvme=nvme), cost)
        for sharding, cost in ladder
        # Offload takes nothing away where host and device memory are one.
        if not (on_cpu and (sharding.offload_optimizer or sharding.offload_parameters))
    ]


def _by_cost(ladders: Sequence[Sequence[tuple[Sharding, int]]]) -> Iterator[tuple[int, ...]]:
    """Yield a rung of each ladder, the cheapest choice first; of equal ones that which spares the first network."""
    choices = itertools.product(*(range(len(ladder)) for ladder in ladders))

    def cost(rungs: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        return sum(ladder[rung][1] for ladder, rung in zip(ladders, rungs, strict=True)), rungs

    yield from sorted(choices, key=cost)


def _by_name(groups: Sequence[Sequence[Role]], shardings: Sequence[Sharding]) -> dict[str, Sharding]:
    return {role.name: sharding for group, sharding in zip(groups, shardings, strict=True) for role in group}


def _reason(chosen: Sharding, plan: MemoryPlan, lower: tuple[Sharding, MemoryPlan] | None, *, alone: bool) -> str:
    fits = f"{chosen}"
    if alone:
        fits += f" takes {in_words(plan.total)} of {in_words(plan.capacity)} a rank"
    if lower is None:
        return f"{fits}: nothing has to be partitioned."
    sharding, more = lower
    phase = "" if alone else f" to {more.peak.phase}"
    return f"{fits}; {sharding} would take {in_words(more.total)}{phase}."
