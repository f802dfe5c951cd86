"""The plan of a run of any kind: what it will need, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from engine.plan.advice import Advice, advise
from engine.plan.batch import BatchPlan, RolloutPlan
from engine.plan.memory import MemoryPlan, Role, plan_memory
from engine.plan.networks import Sharding, unknown_targets
from engine.plan.place import Place
from engine.plan.shape import ModelShape
from engine.plan.sizes import in_words
from engine.plan.states import FP32, checkpoint_bytes, element_bytes
from engine.spec.sections import Train

_TIGHT = 0.92  # of the capacity; the estimate of activations is no closer than that


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """Bytes below the run directory."""

    checkpoint: int  # one
    checkpoints: int  # how many there are at once, at most: those that stay, and the one that is being written
    export: int

    @property
    def total(self) -> int:
        """The most that there is at once."""
        return self.checkpoint * self.checkpoints + self.export


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run will need. `errors` say why it cannot run as it is."""

    roles: tuple[Role, ...]  # its networks; the first is what the run is for
    memory: MemoryPlan
    batch: BatchPlan
    rollout: RolloutPlan | None  # of PPO
    disk: DiskPlan
    advice: Advice | None  # None: no ZeRO stage fits
    seconds: float | None  # at most; None: no throughput is known
    warnings: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Of the network that the run is for, adapters included."""
        return self.roles[0].network.parameters

    @property
    def fits(self) -> bool:
        """Whether it can run as it is."""
        return not self.errors


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a run besides memory, and what is odd about it, in sentences."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __add__(self, more: Findings) -> Findings:
        return Findings(self.errors + more.errors, self.warnings + more.warnings)


def plan_roles(
    roles: Sequence[Role],
    train: Train,
    place: Place,
    *,
    micro_steps: int,
    batch: BatchPlan,
    rollout: RolloutPlan | None = None,
    room: Sequence[str],
    tokens_per_second: float | None,
    found: Findings,
) -> RunPlan:
    """Return the plan of a run of these networks.

    Args:
        roles: its networks.
        train: how it trains.
        place: where it runs.
        micro_steps: forward passes of an optimiser step, as DeepSpeed is told.
        batch: its batches.
        rollout: its rollouts.
        room: what else makes room, to say where no ZeRO stage fits.
        tokens_per_second: of all ranks, measured; None: unknown.
        found: what its kind finds.
    """
    memory = plan_memory(roles, train, place, micro_steps=micro_steps)
    advice = advise(roles, train, place, micro_steps=micro_steps)
    return RunPlan(
        roles=tuple(roles),
        memory=memory,
        batch=batch,
        rollout=rollout,
        disk=_plan_disk(roles, train, batch),
        advice=advice,
        seconds=batch.tokens / tokens_per_second if batch.tokens and tokens_per_second else None,
        warnings=(
            *_shape_warnings(roles),
            *found.warnings,
            *_memory_warnings(roles, train, memory, advice, micro_steps=batch.micro_steps),
        ),
        errors=(
            *_memory_errors(roles, train, memory, advice, room),
            *_adapter_errors(roles),
            *found.errors,
        ),
    )


def _plan_disk(roles: Sequence[Role], train: Train, batch: BatchPlan) -> DiskPlan:
    at_once = train.keep_checkpoints + 1
    if not train.checkpoint_every:
        at_once = 1
    elif batch.steps is not None:
        at_once = min(at_once, -(-batch.steps // train.checkpoint_every))
    checkpoint = sum(checkpoint_bytes(r.network, r.sharding, train.precision) for r in roles if not r.network.frozen)
    first = roles[0]
    # Adapters are merged, and stand beside the weights as well.
    export = (first.network.shape.parameters + first.network.adapters) * element_bytes(train.precision)
    if first.averaged:
        checkpoint += FP32 * first.network.trainable
        export *= 2
    return DiskPlan(checkpoint, at_once, export)


def _memory_errors(
    roles: Sequence[Role], train: Train, memory: MemoryPlan, advice: Advice | None, room: Sequence[str]
) -> Iterator[str]:
    if memory.fits:
        return
    peak = memory.peak
    if len(roles) == 1:
        too_much = f"{roles[0].sharding} takes {in_words(memory.total)} a rank"
    else:
        largest = max(roles, key=lambda role: peak.parts[role.name].total)
        part = f"{in_words(peak.parts[largest.name].total)} of it for the {_in_words(largest)} in {largest.sharding}"
        too_much = f"a rank takes {in_words(memory.total)} to {peak.phase}, {part}"
    too_much += f", and there are {in_words(memory.capacity)}"
    if advice is not None:
        yield f"{too_much}; it fits with {' '.join(_changes(roles, advice.shardings, train))}."
        return
    ways = ["take more ranks"]
    if peak.phase == "train" and not train.gradient_checkpointing:
        ways.append("set train.gradient_checkpointing=true")
    if not any(role.network.lora for role in roles):
        ways.append("train adapters with model.lora")
    ways.append(f"lower {' or '.join(room)}")
    yield f"{too_much}; no ZeRO stage fits. To make room, {', '.join(ways[:-1])}, or {ways[-1]}."


def _in_words(role: Role) -> str:
    kind, _, name = role.name.partition(".")
    return f"reward model {name}" if name else kind


def _changes(roles: Sequence[Role], shardings: Mapping[str, Sharding], train: Train) -> list[str]:
    """Return the settings, KEY=VALUE, with which the networks are spread so; those that stay are left out."""
    first = shardings[roles[0].name]
    found = []
    for role in roles:
        before, after = role.sharding, shardings[role.name]
        if role.network.shares_base:
            continue
        if role.follows:
            before = replace(before, zero_stage=first.zero_stage)
        names = {"zero_stage": "zero_stage", "offload_parameters": "offload"}
        if not role.network.frozen:
            names = {name: name for name in ("zero_stage", "offload_optimizer", "offload_parameters")}
        for field, key in names.items():
            if getattr(before, field) != (value := getattr(after, field)):
                found.append(f"{role.section}.{key}={str(value).lower()}")
    if train.nvme_path is not None and not (first.offload_optimizer or first.offload_parameters):
        found.append("train.nvme_path=null")
    return found


def _adapter_errors(roles: Sequence[Role]) -> Iterator[str]:
    for role in roles:
        network = role.network
        unknown = [] if network.lora is None else list(unknown_targets(network.shape, network.lora))
        if unknown:
            layers = ", ".join(sorted({layer.name.rpartition(".")[2] for layer in network.shape.linears}))
            yield f"lora.targets of the {role.name} names {unknown[0]!r}; the linear layers are {layers}."


def _shape_warnings(roles: Sequence[Role]) -> Iterator[str]:
    for family, shape in {role.network.shape.family: role.network.shape for role in roles}.items():
        if not shape.exact:
            yield (
                f"The architecture {family} is not known here: {shape.parameters:,} parameters is an estimate from "
                f"its width and depth, and so is all that follows from it."
            )


def position_warnings(shape: ModelShape, keys: str, longest: int) -> Iterator[str]:
    """Yield a sentence if the longest row may have more tokens than the model has positions. keys: that allow it."""
    if shape.positions is not None and longest > shape.positions:
        yield f"{keys}: {longest} tokens, and the model has {shape.positions} positions; a longer row ends the run."


def batch_warnings(batch: BatchPlan, train: Train, rows: str) -> Iterator[str]:
    """Yield what is odd about an optimiser step. rows: what they are called."""
    if batch.idle_ranks:
        yield (
            f"{batch.idle_ranks} of {batch.ranks} ranks have no {rows}: train.batch_size is {batch.batch_size}. "
            f"Raise it to {batch.ranks} or a multiple."
        )
    elif batch.batch_size % batch.ranks:
        yield (
            f"A batch of {batch.batch_size} {rows} does not divide by {batch.ranks} ranks: some wait for others, which "
            f"have one more. {-(-batch.batch_size // batch.ranks) * batch.ranks} {rows} divide."
        )
    if train.micro_batch_size > batch.rows_per_rank:
        own = f"{batch.rows_per_rank} {rows if batch.rows_per_rank > 1 else rows.removesuffix('s')}"
        yield (
            f"train.micro_batch_size is {train.micro_batch_size}, and a rank has {own} a step: more are never computed "
            f"at once."
        )
    if batch.rows == 0:
        yield "The training data has no rows."


def _memory_warnings(
    roles: Sequence[Role], train: Train, memory: MemoryPlan, advice: Advice | None, *, micro_steps: int
) -> Iterator[str]:
    first = roles[0]
    if train.precision == "bf16" and first.sharding.zero_stage == 0 and micro_steps > 1:
        yield (
            f"Without ZeRO, the gradients of {micro_steps} micro-batches are added up in bf16, which loses what "
            f"is small. train.zero_stage=1 adds them up in fp32."
        )
    if not memory.fits:
        return
    if memory.total > _TIGHT * memory.capacity:
        yield f"It is tight: {in_words(memory.capacity - memory.total)} a rank are left, and activations are estimated."
    for role in roles:
        if advice is None or role.network.shares_base:
            continue
        now, enough = role.sharding, advice.shardings[role.name]
        waits = now.offload_optimizer or now.offload_parameters
        if waits and not (enough.offload_optimizer or enough.offload_parameters):
            own = "" if len(roles) == 1 else f" of the {_in_words(role)}"
            yield (
                f"Nothing{own} has to be offloaded: {role.section}.zero_stage={enough.zero_stage} fits without, and is "
                f"faster."
            )
        elif now.zero_stage == 3 and not waits and enough.zero_stage < 3 and not role.network.frozen:
            own = "" if len(roles) == 1 else f" for the {_in_words(role)}"
            yield (
                f"{role.section}.zero_stage={enough.zero_stage} would fit too{own}, with {in_words(advice.total)} a "
                f"rank; ZeRO 3 gathers all weights twice a forward and backward pass."
            )
