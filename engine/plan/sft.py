"""The plan of a fine-tuning run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.plan.batch import BatchPlan, plan_batch
from engine.plan.memory import Advice, Load, MemoryPlan, advise, name_of, plan_memory
from engine.plan.place import Place
from engine.plan.shape import ModelShape
from engine.plan.sizes import in_words
from engine.plan.states import checkpoint_bytes, element_bytes
from engine.spec.models import SftSpec

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
class SftPlan:
    """What a fine-tuning run will need. `errors` say why it cannot run as it is."""

    parameters: int
    memory: MemoryPlan
    batch: BatchPlan
    disk: DiskPlan
    advice: Advice | None  # None: no ZeRO stage fits
    seconds: float | None  # at most; None: no throughput is known
    warnings: tuple[str, ...]
    errors: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether it can run as it is."""
        return not self.errors


def plan_sft(
    spec: SftSpec, shape: ModelShape, place: Place, *, rows: int | None, tokens_per_second: float | None = None
) -> SftPlan:
    """Return the plan of a run.

    Args:
        spec: what is to run.
        shape: its model.
        place: where it runs, with the placement of the spec applied.
        rows: of the training data, before packing; None: unknown.
        tokens_per_second: of all ranks, measured; None: unknown.
    """
    train, data = spec.train, spec.data
    if data.packing:
        rows = None  # how many rows are packed depends on the length of each example
    elif rows is not None and data.eval is None:
        rows = max(1, round(rows * (1 - data.eval_fraction)))
    batch = plan_batch(train, ranks=place.ranks, length=data.max_length, rows=rows)
    load = Load(batch.micro_batch, data.max_length, batch.micro_steps, data.packing)
    memory = plan_memory(shape, train, load, place)
    advice = advise(shape, train, load, place)
    return SftPlan(
        parameters=shape.parameters,
        memory=memory,
        batch=batch,
        disk=_plan_disk(spec, shape, batch),
        advice=advice,
        seconds=batch.tokens / tokens_per_second if batch.tokens and tokens_per_second else None,
        warnings=tuple(_warnings(spec, shape, batch, memory, advice)),
        errors=tuple(_errors(spec, memory, advice)),
    )


def _plan_disk(spec: SftSpec, shape: ModelShape, batch: BatchPlan) -> DiskPlan:
    train = spec.train
    at_once = train.keep_checkpoints + 1
    if not train.checkpoint_every:
        at_once = 1
    elif batch.steps is not None:
        at_once = min(at_once, -(-batch.steps // train.checkpoint_every))
    return DiskPlan(checkpoint_bytes(shape, train), at_once, shape.parameters * element_bytes(train))


def _errors(spec: SftSpec, memory: MemoryPlan, advice: Advice | None) -> Iterator[str]:
    if memory.fits:
        return
    too_much = f"{name_of(spec.train)} takes {in_words(memory.total)} a rank, and there are {in_words(memory.capacity)}"
    if advice is not None:
        sets = [f"train.zero_stage={advice.zero_stage}"]
        sets += [
            f"train.{name}={str(wanted).lower()}"
            for name, wanted in (
                ("offload_optimizer", advice.offload_optimizer),
                ("offload_parameters", advice.offload_parameters),
            )
            if wanted != getattr(spec.train, name)
        ]
        yield f"{too_much}; it fits with {' '.join(sets)}."
        return
    ways = ["take more ranks"]
    if not spec.train.gradient_checkpointing:
        ways.append("set train.gradient_checkpointing=true")
    ways.append("lower train.micro_batch_size or data.max_length")
    yield f"{too_much}; no ZeRO stage fits. To make room, {', '.join(ways[:-1])}, or {ways[-1]}."


def _warnings(
    spec: SftSpec, shape: ModelShape, batch: BatchPlan, memory: MemoryPlan, advice: Advice | None
) -> Iterator[str]:
    train = spec.train
    if not shape.exact:
        yield (
            f"The architecture {shape.family} is not known here: {shape.parameters:,} parameters is an estimate from "
            f"its width and depth, and so is all that follows from it."
        )
    if shape.positions is not None and spec.data.max_length > shape.positions:
        yield (
            f"data.max_length is {spec.data.max_length}, and the model has {shape.positions} positions: a longer row "
            f"ends the run."
        )
    if batch.idle_ranks:
        yield (
            f"{batch.idle_ranks} of {batch.ranks} ranks have no rows: train.batch_size is {batch.batch_size}. "
            f"Raise it to {batch.ranks} or a multiple."
        )
    elif batch.batch_size % batch.ranks:
        yield (
            f"A batch of {batch.batch_size} rows does not divide by {batch.ranks} ranks: some wait for others, which "
            f"have one row more. {-(-batch.batch_size // batch.ranks) * batch.ranks} rows divide."
        )
    if train.micro_batch_size > batch.rows_per_rank:
        yield (
            f"train.micro_batch_size is {train.micro_batch_size}, and a rank has {batch.rows_per_rank} "
            f"row{'s' if batch.rows_per_rank > 1 else ''} a step: more are never computed at once."
        )
    if train.precision == "bf16" and train.zero_stage == 0 and batch.micro_steps > 1:
        yield (
            f"Without ZeRO, the gradients of {batch.micro_steps} micro-batches are added up in bf16, which loses what "
            f"is small. train.zero_stage=1 adds them up in fp32."
        )
    if memory.fits and memory.total > _TIGHT * memory.capacity:
        yield f"It is tight: {in_words(memory.capacity - memory.total)} a rank are left, and activations are estimated."
    if memory.fits and advice is not None and not advice.offload_optimizer:
        if train.offload_optimizer or train.offload_parameters:
            yield f"Nothing has to be offloaded: train.zero_stage={advice.zero_stage} fits without, and is faster."
        elif train.zero_stage == 3 and advice.zero_stage < 3:
            yield (
                f"train.zero_stage={advice.zero_stage} would fit too, with {in_words(advice.total)} a rank; ZeRO 3 "
                f"gathers all weights twice a forward and backward pass."
            )
    if batch.rows == 0:
        yield "The training data has no rows."
