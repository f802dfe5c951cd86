"""A plan, as `engine plan` prints it: a document for programs, and a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.cli.output import duration, number, table
from engine.plan.memory import OVERHEAD, Amounts
from engine.plan.sizes import in_words
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.plan.memory import Role
    from engine.plan.place import Place
    from engine.plan.run import RunPlan
    from engine.spec.models import TrainedSpec

_ROWS = {"sft": "row", "rm": "pair", "ppo": "episode"}  # what an optimiser step takes, by kind


def as_document(
    spec: TrainedSpec, planned: RunPlan, where: Place, *, warnings: Sequence[str], commands: Mapping[str, str]
) -> dict[str, Any]:
    """Return the document of `--json`. `per_gpu` is the peak; `parts` are what each network has of it."""
    memory, batch, disk = planned.memory, planned.batch, planned.disk
    first = planned.roles[0]
    suggestion = None
    if planned.advice is not None:
        suggestion = {**_suggested(planned, first), "total": planned.advice.total}
    return {
        "kind": spec.kind,
        "fits": planned.fits,
        "model": {"family": first.network.shape.family, **_counts(first)},
        "nodes": len(where.slots),
        "ranks": where.ranks,
        "on_cpu": where.on_cpu,
        "per_gpu": {**asdict(memory.amounts), "total": memory.total, "capacity": memory.capacity},
        "peak": memory.peak.phase,
        "phases": memory.phases,
        "parts": [
            {
                "name": role.name,
                "family": role.network.shape.family,
                **_counts(role),
                **_spread(role),
                "per_gpu": _with_total(memory.peak.parts[role.name]),
                "suggestion": None if planned.advice is None else _suggested(planned, role),
            }
            for role in planned.roles
        ],
        "overhead": memory.peak.parts[OVERHEAD].total,
        "host_per_node": memory.host,
        "local_disk_per_node": memory.disk,
        **_spread(first),
        "suggestion": suggestion,
        "batch": {
            **asdict(batch),
            "tokens_per_step_at_most": batch.tokens_per_step,
            "tokens_at_most": batch.tokens,
            "epochs": batch.epochs,
        },
        "rollout": None if planned.rollout is None else asdict(planned.rollout),
        "disk": {**asdict(disk), "total": disk.total},
        "seconds_at_most": planned.seconds,
        "commands": dict(commands),
        "warnings": list(warnings),
        "errors": list(planned.errors),
    }


def _counts(role: Role) -> dict[str, Any]:
    network = role.network
    return {"parameters": network.parameters, "trainable": network.trainable, "exact": network.shape.exact}


def _spread(role: Role) -> dict[str, Any]:
    sharding = role.sharding
    offload = {"optimizer": sharding.offload_optimizer, "parameters": sharding.offload_parameters}
    return {"zero_stage": sharding.zero_stage, "offload": offload}


def _suggested(planned: RunPlan, role: Role) -> dict[str, Any]:
    assert planned.advice is not None
    sharding = planned.advice.shardings[role.name]
    return {
        "zero_stage": sharding.zero_stage,
        "offload_optimizer": sharding.offload_optimizer,
        "offload_parameters": sharding.offload_parameters,
        "reason": planned.advice.reasons[role.name],
    }


def _with_total(amounts: Amounts) -> dict[str, int]:
    return {**asdict(amounts), "total": amounts.total}


def as_text(spec: TrainedSpec, planned: RunPlan, where: Place, commands: Mapping[str, str]) -> str:
    """Return the page for people."""
    facts = [*_facts(spec, planned, where)]
    width = max(len(label) for label, _ in facts)
    return "\n".join(
        [
            *(f"{label:<{width}}  {visible(value)}" for label, value in facts),
            "",
            _parts(planned, "CPU worker" if where.on_cpu else "GPU"),
            *launchers(commands),
        ]
    )


def launchers(commands: Mapping[str, str]) -> list[str]:
    """Return the lines with the commands that run the same without `engine launch`, if there are any."""
    told = "The same without engine launch, in a folder that all nodes share (torchrun: on each node):"
    return ["", told, *(f"  {visible(command)}" for command in commands.values())] if commands else []


def _facts(spec: TrainedSpec, planned: RunPlan, where: Place) -> Iterator[tuple[str, str]]:
    memory, disk = planned.memory, planned.disk
    unit = "CPU worker" if where.on_cpu else "GPU"
    for role in planned.roles:
        yield role.name, f"{_size(role)}, {spec.train.precision}"
    yield (
        "where",
        f"{_count(len(where.slots), 'node')}, {_count(where.ranks, 'rank')}, {in_words(memory.capacity)} a {unit}",
    )
    fits = "fits" if memory.fits else "does not fit"
    if len(planned.roles) == 1:
        yield "stage", f"{planned.roles[0].sharding}: {fits}"
        yield "lowest", planned.advice.reasons[planned.roles[0].name] if planned.advice else "no ZeRO stage fits."
    else:
        yield "stages", ", ".join(f"{role.name} {role.sharding}" for role in planned.roles) + f": {fits}"
        if planned.advice is None:
            yield "lowest", "no ZeRO stage fits."
        else:
            reasons = [f"{name}: {reason}" for name, reason in planned.advice.reasons.items()]
            yield from (("" if index else "lowest", reason) for index, reason in enumerate(reasons))
        peak = memory.peak
        yield (
            "phases",
            ", ".join(f"{phase} {in_words(amount)}" for phase, amount in memory.phases.items())
            + f"; the peak is to {peak.phase} ({peak.role})",
        )
    if memory.host:
        yield "host", f"{in_words(memory.host)} of host memory a node"
    if memory.disk:
        yield "offloaded", f"{in_words(memory.disk)} on a local disk of each node"
    yield from _batches(spec, planned)
    yield (
        "disk",
        f"{in_words(disk.total)}: {disk.checkpoints} × {in_words(disk.checkpoint)} of checkpoints, "
        f"{in_words(disk.export)} exported",
    )
    yield "time", _time(planned)


def _size(role: Role) -> str:
    network = role.network
    exact = "" if network.shape.exact else "about "
    size = f"{network.shape.family}, {exact}{network.parameters:,} parameters"
    if network.lora is not None:
        size += f", {network.trainable:,} of them train"
    return size + (", over the policy's base" if network.shares_base else "")


def _batches(spec: TrainedSpec, planned: RunPlan) -> Iterator[tuple[str, str]]:
    batch, rollout = planned.batch, planned.rollout
    if rollout is not None:
        yield (
            "rollout",
            f"{_count(rollout.episodes, 'episode')} a step from {_count(rollout.prompts, 'prompt')}, at most "
            f"{rollout.episodes_per_rank} a rank, {rollout.at_once} of them at once; then "
            f"{_count(rollout.optimizer_steps, 'optimiser step')}",
        )
    step = "step" if rollout is None else "optimiser step"
    yield (
        "batch",
        f"{_count(batch.batch_size, _ROWS[spec.kind])} {'a' if rollout is None else 'an'} {step}, at most "
        f"{batch.rows_per_rank} a rank, in {_count(batch.micro_steps, 'micro-batch', 'es')} of at most "
        f"{batch.micro_batch} × {batch.length} tokens",
    )
    yield "length", _length(planned)


def _parts(planned: RunPlan, unit: str) -> str:
    """Return the table of what a rank holds at the peak; of several networks one row each."""
    memory = planned.memory
    names = [name for name, amount in asdict(memory.amounts).items() if name != "generation" or amount]

    def share(amount: int) -> str:
        return f"{100 * amount / memory.capacity:.1f} %"

    if len(planned.roles) == 1:
        rows = [[name, in_words(getattr(memory.amounts, name)), share(getattr(memory.amounts, name))] for name in names]
        rows += [["total", in_words(memory.total), share(memory.total)], ["capacity", in_words(memory.capacity), ""]]
        return table([f"per {unit}", "", "share"], rows, right=(1, 2))
    rows = []
    for name, amounts in [*memory.peak.parts.items(), ("total", memory.amounts)]:
        cells = [getattr(amounts, column) for column in names]
        rows.append(
            [name, *(in_words(cell) if cell else "" for cell in cells), in_words(amounts.total), share(amounts.total)]
        )
    rows.append(["capacity", *("" for _ in names), in_words(memory.capacity), ""])
    header = [f"per {unit}, to {memory.peak.phase}", *names, "total", "share"]
    return table(header, rows, right=range(1, len(header)))


def _count(number_of: int, what: str, plural: str = "s") -> str:
    return f"{number_of:,} {what}{plural if number_of != 1 else ''}"


def _length(planned: RunPlan) -> str:
    batch = planned.batch
    if batch.steps is None:
        return f"unknown, of at most {batch.tokens_per_step:,} tokens a step"
    epochs = "" if batch.epochs is None else f", {number(batch.epochs)} epochs of {batch.rows:,} rows"
    return f"{batch.steps:,} steps{epochs}, at most {batch.tokens:,} tokens"


def _time(planned: RunPlan) -> str:
    if planned.seconds is not None:
        return f"at most {duration(planned.seconds)}, at the measured throughput"
    if planned.batch.steps is None:
        return "unknown, as the number of steps is"
    return "unknown until measured: give --tokens-per-second N, or --like EXP"
