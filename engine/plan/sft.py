"""The plan of a fine-tuning run."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plan.activations import Load
from engine.plan.batch import BatchPlan, plan_batch
from engine.plan.memory import Role
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.run import Findings, RunPlan, batch_warnings, plan_roles, position_warnings
from engine.plan.shape import ModelShape
from engine.spec.models import SftSpec


def plan_sft(
    spec: SftSpec, shape: ModelShape, place: Place, *, rows: int | None, tokens_per_second: float | None = None
) -> RunPlan:
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
    eager = spec.model.attention == "eager"
    load = Load(batch.micro_batch, data.max_length, packing=data.packing, eager=eager)
    return plan_roles(
        [Role("model", Network(shape, spec.model.lora), Sharding.of(train), trains=(load,))],
        train,
        place,
        micro_steps=batch.micro_steps,
        batch=batch,
        room=("train.micro_batch_size", "data.max_length"),
        tokens_per_second=tokens_per_second,
        found=Findings(warnings=tuple(_warnings(spec, shape, batch))),
    )


def _warnings(spec: SftSpec, shape: ModelShape, batch: BatchPlan) -> Iterator[str]:
    yield from position_warnings(shape, "data.max_length", spec.data.max_length)
    yield from batch_warnings(batch, spec.train, "rows")
