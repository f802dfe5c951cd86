"""Whether a run fits into the memory of its ranks: what each network takes at each moment of a step, and the worst one.

A step of PPO writes answers, has the networks score them, and trains policy and critic; what waits in host memory is
absent but while it computes. Fine-tuning and reward models only train.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from engine.plan.activations import Load, activation_bytes, forward_bytes, kept_bytes, logits_bytes
from engine.plan.generation import Decoding, generation_bytes
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.states import StateBytes, average_bytes, element_bytes, state_bytes
from engine.spec.sections import Train

GIBI = 1 << 30
# What no tensor accounts for. GPU: the CUDA context with its kernels and NCCL's buffers (1.67 GiB on an H200 with one
# rank, benchmarks/results/2026-11-26-h200.txt), and what the allocator loses to fragments; what it only keeps for later
# it gives back when memory runs out, so that a driver may show a fifth more. CPU: Python with torch and DeepSpeed.
_GPU_OVERHEAD = 7 * GIBI // 4
_FRAGMENTS = 20  # one part in so many
CPU_OVERHEAD = 3 * GIBI // 4
OVERHEAD = "overhead"  # the name of that part

Phase = Literal["generate", "score", "train"]


@dataclass(frozen=True, slots=True)
class Role:
    """A network of a run, and what a rank has to compute with it."""

    name: str  # model, policy, critic, reference, or rewards.NAME
    network: Network
    sharding: Sharding
    section: str = "train"  # of the spec, that says how it is spread
    follows: bool = False  # its ZeRO stage is that of the first network, because its section says nothing
    trains: tuple[Load, ...] = ()  # the micro-batches that it trains on; none: it is frozen
    scores: Load | None = None  # what it reads without gradients
    writes: Decoding | None = None
    averaged: bool = False  # a moving average of what trains is kept in host memory


@dataclass(frozen=True, slots=True)
class Amounts:
    """Bytes of one rank."""

    weights: int = 0
    gradients: int = 0
    optimizer: int = 0
    activations: int = 0
    generation: int = 0  # cache and logits of a rollout
    other: int = 0  # buffers of the reduction, temporaries of the optimiser step, and what no tensor accounts for

    @property
    def total(self) -> int:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.generation + self.other

    def __add__(self, more: Amounts) -> Amounts:
        return Amounts(
            self.weights + more.weights,
            self.gradients + more.gradients,
            self.optimizer + more.optimizer,
            self.activations + more.activations,
            self.generation + more.generation,
            self.other + more.other,
        )


@dataclass(frozen=True, slots=True)
class Moment:
    """A phase of a step, while one of the networks computes."""

    phase: Phase
    role: str  # the network that computes
    parts: Mapping[str, Amounts]  # by network, and the overhead

    @property
    def amounts(self) -> Amounts:
        """All parts together."""
        return sum(self.parts.values(), Amounts())

    @property
    def total(self) -> int:
        """Bytes a rank."""
        return sum(part.total for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes a rank at each moment of a step."""

    moments: tuple[Moment, ...]
    capacity: int
    host: int  # of all ranks of the fullest node, besides; on a CPU 0, because the parts hold it
    disk: int  # offloaded to a local disk by them

    @property
    def peak(self) -> Moment:
        """The moment that needs the most."""
        return max(self.moments, key=lambda moment: moment.total)

    @property
    def amounts(self) -> Amounts:
        """What the peak needs."""
        return self.peak.amounts

    @property
    def total(self) -> int:
        """Bytes a rank at the peak."""
        return self.peak.total

    @property
    def phases(self) -> dict[Phase, int]:
        """The most that each phase needs."""
        most: dict[Phase, int] = {}
        for moment in self.moments:
            most[moment.phase] = max(moment.total, most.get(moment.phase, 0))
        return most

    @property
    def fits(self) -> bool:
        """Whether a rank has room for all of it."""
        return self.total <= self.capacity


def plan_memory(roles: Sequence[Role], train: Train, place: Place, *, micro_steps: int) -> MemoryPlan:
    """Return what one rank needs.

    Args:
        roles: the networks of the run.
        train: precision and gradient checkpointing.
        place: the ranks.
        micro_steps: forward passes of an optimiser step.
    """
    states = {
        role.name: state_bytes(
            role.network,
            role.sharding,
            precision=train.precision,
            ranks=place.ranks,
            micro_steps=micro_steps,
            on_cpu=place.on_cpu,
        )
        for role in roles
    }
    averages = {
        role.name: average_bytes(role.network, role.sharding, ranks=place.ranks) if role.averaged else 0
        for role in roles
    }
    # What is there all the time.
    held = {name: _held(state, averages[name], on_cpu=place.on_cpu) for name, state in states.items()}
    for role in roles:
        if role.network.shares_base:  # it trains in the engine of the first network, whose buffers serve both
            held[role.name] = replace(held[role.name], other=0)
    moments = tuple(
        replace(moment, parts={**moment.parts, OVERHEAD: overhead(moment.total, on_cpu=place.on_cpu)})
        for role in roles
        for moment in _moments(role, roles, states, held, train)
    )
    host = 0
    if not place.on_cpu:
        waits = {name: states[name].host + averages[name] for name in states}
        loading = max(_loading_bytes(role, train) - waits[role.name] for role in roles)
        host = max(place.slots) * (CPU_OVERHEAD + sum(waits.values()) + max(0, loading))
    disk = max(place.slots) * sum(state.disk for state in states.values())
    return MemoryPlan(moments, place.capacity, host, disk)


def _held(state: StateBytes, average: int, *, on_cpu: bool) -> Amounts:
    held = Amounts(state.weights, state.gradients, state.optimizer, other=state.lasting_buffers)
    if not on_cpu:
        return held
    return held + Amounts(state.host_weights, state.host_gradients, state.host_optimizer, other=average)


def _moments(
    role: Role, roles: Sequence[Role], states: Mapping[str, StateBytes], held: Mapping[str, Amounts], train: Train
) -> Iterator[Moment]:
    """Yield what the computing of one network adds to what all hold."""

    def moment(phase: Phase, more: Mapping[str, Amounts]) -> Moment:
        parts = {name: amounts + more[name] if name in more else amounts for name, amounts in held.items()}
        return Moment(phase, role.name, parts)

    network, state, precision = role.network, states[role.name], train.precision
    if role.writes is not None:
        # Under ZeRO 3 a whole copy is gathered for the phase, so that no token waits for another rank.
        copy = element_bytes(precision) * network.parameters if role.sharding.zero_stage == 3 else 0
        needed = Amounts(copy, generation=generation_bytes(network, precision, role.writes))
        yield moment("generate", {role.name: needed})
    if role.scores is not None:
        needed = Amounts(state.working, activations=forward_bytes(network, precision, role.scores))
        yield moment("score", {role.name: needed})
    if network.shares_base:
        return
    for load in role.trains:
        # Networks over one base have one backward pass together; before it, each keeps its activations.
        together = [other for other in roles if other.network.shares_base and load in other.trains]
        kept = {
            other.name: kept_bytes(other.network, train, load) + logits_bytes(other.network, train, load)
            for other in together
        }
        activations = activation_bytes(network, train, load)
        # At the optimiser step the activations are gone, and their room serves for its temporaries.
        step = state.step + sum(states[name].step for name in kept) + state.lasting_buffers
        other = max(state.buffers, step - activations - sum(kept.values())) - state.lasting_buffers
        needed = Amounts(state.working, activations=activations, other=other)
        yield moment("train", {role.name: needed, **{name: Amounts(activations=size) for name, size in kept.items()}})


def overhead(total: int, *, on_cpu: bool) -> Amounts:
    """Return what no tensor accounts for. total: bytes of the tensors of a rank."""
    return Amounts(other=CPU_OVERHEAD if on_cpu else _GPU_OVERHEAD + total // _FRAGMENTS)


def _loading_bytes(role: Role, train: Train) -> int:
    """Return what a rank holds in host memory while it loads a network: all of it, but for ZeRO 3."""
    return 0 if role.sharding.zero_stage == 3 else role.network.own * element_bytes(train.precision)
