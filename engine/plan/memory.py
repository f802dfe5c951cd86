"""Whether a run fits into the memory of its ranks, part by part, and the lowest ZeRO stage that does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.plan.activations import activation_bytes
from engine.plan.place import Place
from engine.plan.shape import ModelShape
from engine.plan.sizes import in_words
from engine.plan.states import element_bytes, state_bytes
from engine.spec.sections import Train

GIBI = 1 << 30
# What no tensor accounts for. GPU: the CUDA context with its kernels and NCCL's buffers, and what the allocator loses
# to fragments. CPU: Python with torch and DeepSpeed.
_GPU_OVERHEAD = 3 * GIBI // 2
_FRAGMENTS = 20  # one part in so many
_CPU_OVERHEAD = 3 * GIBI // 4


@dataclass(frozen=True, slots=True)
class Load:
    """What a rank computes at once."""

    rows: int  # of the largest micro-batch
    length: int  # tokens of the longest row
    micro_steps: int
    packing: bool = False


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes a rank at the worst moment of a step; the parts add up to `total`."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    generation: int  # of a rollout; fine-tuning has none
    other: int  # buffers of the reduction, temporaries of the optimiser step, and what no tensor accounts for
    capacity: int
    host: int  # of all ranks of the fullest node, besides; on a CPU 0, because the parts hold it

    @property
    def total(self) -> int:
        """All parts."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.generation + self.other

    @property
    def fits(self) -> bool:
        """Whether a rank has room for all of it."""
        return self.total <= self.capacity


def plan_memory(shape: ModelShape, train: Train, load: Load, place: Place) -> MemoryPlan:
    """Return what one rank needs to train the whole model."""
    states = state_bytes(shape, train, ranks=place.ranks, micro_steps=load.micro_steps, on_cpu=place.on_cpu)
    activations = activation_bytes(shape, train, rows=load.rows, length=load.length, packing=load.packing)
    other = max(states.buffers, states.step + states.step_buffers - activations)
    weights, gradients, optimizer = states.weights, states.gradients, states.optimizer
    host = 0
    if place.on_cpu:
        weights += states.host_weights
        gradients += states.host_gradients
        optimizer += states.host_optimizer
        other += _CPU_OVERHEAD
    else:
        other += _GPU_OVERHEAD + (weights + gradients + optimizer + activations + other) // _FRAGMENTS
        host = max(place.slots) * (_CPU_OVERHEAD + max(states.host, _loading_bytes(shape, train)))
    return MemoryPlan(weights, gradients, optimizer, activations, 0, other, place.capacity, host)


def _loading_bytes(shape: ModelShape, train: Train) -> int:
    """Return what a rank holds in host memory while it loads: the whole model, but for ZeRO 3."""
    return 0 if train.zero_stage == 3 else shape.parameters * element_bytes(train)


@dataclass(frozen=True, slots=True)
class Advice:
    """The lowest ZeRO stage that fits, with as little offload as can be, and why."""

    zero_stage: int
    offload_optimizer: bool
    offload_parameters: bool
    total: int
    reason: str


def advise(shape: ModelShape, train: Train, load: Load, place: Place) -> Advice | None:
    """Return the lowest ZeRO stage that fits; None if no stage does, with or without offload."""
    stages = [_variant(train, stage) for stage in (0, 1, 2, 3)]
    if not place.on_cpu:  # offload takes nothing away where host and device memory are one
        stages += [_variant(train, stage, offload_optimizer=True) for stage in (2, 3)]
        stages.append(_variant(train, 3, offload_optimizer=True, offload_parameters=True))
    tried: list[tuple[Train, int]] = []
    for variant in stages:
        plan = plan_memory(shape, variant, load, place)
        if plan.fits:
            return Advice(
                variant.zero_stage,
                variant.offload_optimizer,
                variant.offload_parameters,
                plan.total,
                _reason(variant, plan, tried, place),
            )
        tried.append((variant, plan.total))
    return None


def _variant(train: Train, stage: int, *, offload_optimizer: bool = False, offload_parameters: bool = False) -> Train:
    changes = {
        "zero_stage": stage,
        "offload_optimizer": offload_optimizer,
        "offload_parameters": offload_parameters,
    }
    return train.model_copy(update=changes)


def name_of(train: Train) -> str:
    """Return "ZeRO 2", with what is offloaded."""
    offloaded = [
        what
        for what, is_set in (("optimiser", train.offload_optimizer), ("parameters", train.offload_parameters))
        if is_set
    ]
    return f"ZeRO {train.zero_stage}" + (f" with {' and '.join(offloaded)} on the host" if offloaded else "")


def _reason(variant: Train, plan: MemoryPlan, tried: Sequence[tuple[Train, int]], place: Place) -> str:
    fits = f"{name_of(variant)} takes {in_words(plan.total)} of {in_words(place.capacity)} a rank"
    if not tried:
        return f"{fits}: nothing has to be partitioned."
    last, total = tried[-1]
    return f"{fits}; {name_of(last)} would take {in_words(total)}."
