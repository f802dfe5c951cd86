"""`engine plan`: what a run will need, and whether it fits, before anything runs."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import duration, number, print_json, say, table, visible
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.plan.place import Place
    from engine.plan.sft import SftPlan
    from engine.plan.shape import ModelShape
    from engine.spec.models import SftSpec

_COUNTED = (".jsonl", ".json", ".csv", ".tsv")  # rows of other files are not counted without what reads them
_PORT = 29500  # where torchrun's ranks meet


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--hostfile", type=click.Path(path_type=Path), help="Where it runs (default: this machine, one slot).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
@click.option(
    "--gpu-memory",
    metavar="SIZE",
    help="Memory of one GPU (default: 80GB; on this machine alone: its RAM, for CPUs).",
)
@click.option(
    "--tokens-per-second",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="Measured throughput of all ranks, to estimate the time.",
)
@click.option("--like", metavar="EXP", help="Estimate the time from the throughput of this experiment.")
@global_options
@pass_settings
def plan(
    settings: Settings,
    *,
    file: Path,
    hostfile: Path | None,
    overrides: tuple[str, ...],
    gpu_memory: str | None,
    tokens_per_second: float | None,
    like: str | None,
) -> int:
    """What the spec FILE will need: memory a GPU, ZeRO stage, batch, disk, time. Ends with 4 if it does not fit."""
    from engine.cluster.hostfile import load_hostfile, local_hostfile
    from engine.dispatch.placement import place
    from engine.plan.place import place_of
    from engine.plan.sft import plan_sft
    from engine.plan.shape import shape_of_model
    from engine.plan.sizes import parse_size
    from engine.spec.loading import load_spec
    from engine.spec.models import SftSpec
    from engine.spec.resolve import with_absolute_paths

    spec = with_absolute_paths(load_spec(file, overrides), file.resolve().parent)
    if not isinstance(spec, SftSpec):
        raise Refused(f"experiments of kind {spec.kind} cannot be planned yet; sft can.", where=str(file))
    if like is not None and tokens_per_second is not None:
        raise InvalidInput("--like and --tokens-per-second both say how fast it is.", hint="Give one of them.")
    hosts = load_hostfile(hostfile) if hostfile is not None else local_hostfile()
    seats = place(hosts.nodes, spec.placement)
    where = place_of(
        [seat.slots for seat in seats],
        local=all(node.is_local for node in hosts.nodes[: len(seats)]),
        gpu_memory=None if gpu_memory is None else parse_size(gpu_memory),
    )
    shape = shape_of_model(spec.model)
    rows, notes = _rows(spec)
    if like is not None:
        tokens_per_second, note = _throughput(settings, like, where.ranks)
        notes += note
    planned = plan_sft(spec, shape, where, rows=rows, tokens_per_second=tokens_per_second)
    commands = _commands(file, overrides, hosts, seats)
    if len(set(where.slots)) > 1:
        notes.append("The nodes have different slots: give torchrun on each node its own --nproc-per-node.")
    warnings = [*notes, *planned.warnings]
    if settings.json:
        print_json(_document(spec, shape=shape, where=where, planned=planned, warnings=warnings, commands=commands))
    else:
        click.echo(_text(spec, shape, where, planned, commands))
        for sentence in warnings:
            say(settings, f"warning: {sentence}")
        for sentence in planned.errors:
            click.echo(f"error: {sentence}", err=True)
    return 0 if planned.fits else Refused.exit_code


def _rows(spec: SftSpec) -> tuple[int | None, list[str]]:
    """Return how many rows the training data has, if that is cheap to know, and what is to be said about it."""
    file = Path(spec.data.train)
    unknown = " so the number of its rows is unknown, and with it " + (
        "that of epochs." if spec.train.steps else "steps and time."
    )
    if spec.data.packing and spec.train.steps is None:
        return None, ["Packed rows are counted when the data is read, so steps and time are unknown."]
    if not file.exists():
        return None, [f"{file} is not on this machine," + unknown]
    if not file.is_file() or file.suffix not in _COUNTED:
        return None, [f"{file} is of a kind that is not counted here," + unknown]
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            return sum(not line.isspace() for line in lines), []
    from engine.data.sources import count_rows

    return count_rows(file), []


def _throughput(settings: Settings, reference: str, ranks: int) -> tuple[float, list[str]]:
    """Return the median tokens per second of an experiment, and what is to be said about it. Raises NotFound."""
    from engine.store import attempts, experiments, series

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    measured = [
        value for value in series.read(store, identity, "tokens_per_second").value if math.isfinite(value) and value > 0
    ]
    if not measured:
        raise NotFound("it has measured no tokens_per_second.", where=identity)
    newest = attempts.list_attempts(store, identity)[-1:]
    there = sum(int(row["slots"]) for attempt in newest for row in attempt.placement) or ranks
    notes = [f"{identity} ran on {there} ranks, this runs on {ranks}: the time is a guess."] if there != ranks else []
    return statistics.median(measured), notes


def _commands(file: Path, overrides: Sequence[str], hosts: Hostfile, seats: Sequence[Seat]) -> dict[str, str]:
    """Return the commands that run the same without `engine launch`. The run directory must be shared by all nodes."""
    job = ["engine.cli", "train", str(file.resolve()), "--run-dir", "run"]
    for override in overrides:
        job += ["--set", override]
    slots = max(seat.slots for seat in seats)
    first = hosts.nodes[0]
    deepspeed = ["deepspeed"]
    if hosts.path is None:
        deepspeed += ["--num_gpus", str(slots)]
    else:
        deepspeed += ["--hostfile", str(hosts.path)]
        if len(seats) < len(hosts.nodes):
            deepspeed += ["--num_nodes", str(len(seats))]
        if any(seat.slots < node.slots for seat, node in zip(seats, hosts.nodes, strict=False)):
            deepspeed += ["--num_gpus", str(slots)]
        if first.address is not None:
            deepspeed += ["--master_addr", first.address]
    torchrun = ["torchrun", "--nproc-per-node", str(slots)]
    if len(seats) > 1:
        meeting = f"{first.address or first.host}:{_PORT}"
        torchrun += ["--nnodes", str(len(seats)), "--rdzv-backend", "c10d", "--rdzv-endpoint", meeting]
    else:
        torchrun.append("--standalone")
    return {
        "deepspeed": shlex.join([*deepspeed, "--no_local_rank", "--module", *job]),
        "torchrun": shlex.join([*torchrun, "-m", *job]),
    }


def _document(
    spec: SftSpec,
    *,
    shape: ModelShape,
    where: Place,
    planned: SftPlan,
    warnings: Sequence[str],
    commands: dict[str, str],
) -> dict[str, Any]:
    memory, batch, disk = planned.memory, planned.batch, planned.disk
    parts = asdict(memory)
    host, capacity = parts.pop("host"), parts.pop("capacity")
    return {
        "kind": spec.kind,
        "fits": planned.fits,
        "model": {"family": shape.family, "parameters": planned.parameters, "exact": shape.exact},
        "nodes": len(where.slots),
        "ranks": where.ranks,
        "on_cpu": where.on_cpu,
        "per_gpu": {**parts, "total": memory.total, "capacity": capacity},
        "host_per_node": host,
        "zero_stage": spec.train.zero_stage,
        "offload": {"optimizer": spec.train.offload_optimizer, "parameters": spec.train.offload_parameters},
        "suggestion": None if planned.advice is None else asdict(planned.advice),
        "batch": {
            **asdict(batch),
            "tokens_per_step_at_most": batch.tokens_per_step,
            "tokens_at_most": batch.tokens,
            "epochs": batch.epochs,
        },
        "disk": {**asdict(disk), "total": disk.total},
        "seconds_at_most": planned.seconds,
        "commands": commands,
        "warnings": list(warnings),
        "errors": list(planned.errors),
    }


def _text(spec: SftSpec, shape: ModelShape, where: Place, planned: SftPlan, commands: dict[str, str]) -> str:
    from engine.plan.memory import name_of
    from engine.plan.sizes import in_words

    memory, batch, disk = planned.memory, planned.batch, planned.disk
    exact = "" if shape.exact else "about "
    unit = "CPU worker" if where.on_cpu else "GPU"
    parts = ("weights", "gradients", "optimizer", "activations", "generation", "other", "total", "capacity")
    amounts = [(name, getattr(memory, name)) for name in parts if name != "generation" or memory.generation]
    share = [
        [name, in_words(amount), "" if name == "capacity" else f"{100 * amount / memory.capacity:.1f} %"]
        for name, amount in amounts
    ]
    facts = [
        ("model", f"{shape.family}, {exact}{planned.parameters:,} parameters, {spec.train.precision}"),
        (
            "where",
            f"{_count(len(where.slots), 'node')}, {_count(where.ranks, 'rank')}, {in_words(memory.capacity)} a {unit}",
        ),
        ("stage", f"{name_of(spec.train)}: {'fits' if memory.fits else 'does not fit'}"),
        ("lowest", planned.advice.reason if planned.advice else "no ZeRO stage fits."),
    ]
    if memory.host:
        facts.append(("host", f"{in_words(memory.host)} of host memory a node"))
    facts += [
        (
            "batch",
            f"{_count(batch.batch_size, 'row')} a step, at most {batch.rows_per_rank} a rank, in "
            f"{_count(batch.micro_steps, 'micro-batch', 'es')} of at most {batch.micro_batch} × {batch.length} tokens",
        ),
        ("length", _length(planned)),
        (
            "disk",
            f"{in_words(disk.total)}: {disk.checkpoints} × {in_words(disk.checkpoint)} of checkpoints, "
            f"{in_words(disk.export)} exported",
        ),
        ("time", _time(planned)),
    ]
    width = max(len(label) for label, _ in facts)
    lines = [f"{label:<{width}}  {visible(value)}" for label, value in facts]
    return "\n".join(
        [
            *lines,
            "",
            table([f"per {unit}", "", "share"], share, right=(1, 2)),
            "",
            "The same without engine launch, in a folder that all nodes share (torchrun: on each node):",
            *(f"  {visible(command)}" for command in commands.values()),
        ]
    )


def _count(number_of: int, what: str, plural: str = "s") -> str:
    return f"{number_of:,} {what}{plural if number_of != 1 else ''}"


def _length(planned: SftPlan) -> str:
    batch = planned.batch
    if batch.steps is None:
        return f"unknown, of at most {batch.tokens_per_step:,} tokens a step"
    epochs = "" if batch.epochs is None else f", {number(batch.epochs)} epochs of {batch.rows:,} rows"
    return f"{batch.steps:,} steps{epochs}, at most {batch.tokens:,} tokens"


def _time(planned: SftPlan) -> str:
    if planned.seconds is not None:
        return f"at most {duration(planned.seconds)}, at the measured throughput"
    if planned.batch.steps is None:
        return "unknown, as the number of steps is"
    return "unknown until measured: give --tokens-per-second N, or --like EXP"
