"""The plan of a reward model: pairs of answers, two sequences each, through a backbone with a scalar head."""

from __future__ import annotations

from collections.abc import Iterator

from engine.plan.activations import Load
from engine.plan.batch import BatchPlan, plan_batch
from engine.plan.memory import Role
from engine.plan.networks import Network, Sharding
from engine.plan.place import Place
from engine.plan.run import Findings, RunPlan, batch_warnings, plan_roles, position_warnings
from engine.plan.shape import ModelShape, with_score_head
from engine.spec.models import RmSpec


def plan_rm(
    spec: RmSpec,
    backbone: ModelShape,
    place: Place,
    *,
    rows: int | None,
    tokens_per_second: float | None = None,
    found: Findings,
) -> RunPlan:
    """Return the plan of a run.

    Args:
        spec: what is to run.
        backbone: its model, whose head is replaced.
        place: where it runs, with the placement of the spec applied.
        rows: pairs of the training data; None: unknown.
        tokens_per_second: of all ranks, measured; None: unknown.
        found: what its tokenizer shows.
    """
    train, data = spec.train, spec.data
    if rows is not None and data.eval is None:
        rows = max(1, round(rows * (1 - data.eval_fraction)))
    batch = plan_batch(train, ranks=place.ranks, length=data.max_length, rows=rows, sequences=2)
    # Better and worse answers go through the network together.
    load = Load(2 * batch.micro_batch, data.max_length, packing=data.packing, eager=spec.model.attention == "eager")
    network = Network(with_score_head(backbone), spec.model.lora)
    return plan_roles(
        [Role("model", network, Sharding.of(train), trains=(load,))],
        train,
        place,
        micro_steps=batch.micro_steps,
        batch=batch,
        room=("train.micro_batch_size", "data.max_length"),
        tokens_per_second=tokens_per_second,
        found=found + Findings(warnings=tuple(_warnings(spec, backbone, batch))),
    )


def _warnings(spec: RmSpec, backbone: ModelShape, batch: BatchPlan) -> Iterator[str]:
    yield from position_warnings(backbone, "data.max_length", spec.data.max_length)
    yield from batch_warnings(batch, spec.train, "pairs")
