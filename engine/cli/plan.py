"""`engine plan`: what a run will need, and whether it fits, before anything runs."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.output import print_json, say
from engine.cli.plan_report import as_document, as_text
from engine.cli.settings import Settings, global_options, pass_settings
from engine.errors import InvalidInput, NotFound, Refused

if TYPE_CHECKING:
    from engine.cluster.hostfile import Hostfile
    from engine.dispatch.placement import Seat
    from engine.plan.place import Place
    from engine.spec.models import AnySpec, EvalSpec, Kind, PreferenceData, RagSpec, TrainedSpec

_COUNTED = (".jsonl", ".json", ".csv", ".tsv")  # rows of other files are not counted without what reads them
PLANNED = ("sft", "rm", "ppo", "rag", "eval")  # kinds
_PORT = 29500  # where torchrun's ranks meet


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--hostfile", type=click.Path(path_type=Path), help="Where it runs (default: this machine, one slot).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Set a key of the spec.")
@click.option(
    "--gpu-memory",
    metavar="SIZE",
    help="Memory of one GPU (default: 80GB; on this machine alone: that of its GPUs, or its RAM without any).",
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
    """What the spec or pipeline FILE will need: memory, stage, batch, disk, time. Ends with 4 if it does not fit."""
    from engine.cluster.hostfile import load_hostfile, local_hostfile
    from engine.dispatch.fitting import seats_and_place
    from engine.dispatch.readiness import look_up_references
    from engine.spec.loading import load_spec
    from engine.spec.pipeline import names_pipeline
    from engine.spec.references import references_of
    from engine.spec.resolve import with_absolute_paths

    if like is not None and tokens_per_second is not None:
        raise InvalidInput("--like and --tokens-per-second both say how fast it is.", hint="Give one of them.")
    hosts = load_hostfile(hostfile) if hostfile is not None else local_hostfile()
    if names_pipeline(file):
        if like is not None or tokens_per_second is not None:
            told = "--like and --tokens-per-second say how fast one experiment is, and this is a pipeline of several."
            raise InvalidInput(told, where=str(file))
        from engine.cli.plan_pipeline import plan_stages

        return plan_stages(settings, file, overrides, hosts, gpu_memory)
    spec = with_absolute_paths(load_spec(file, overrides), file.resolve().parent)
    references = references_of(spec)
    spec, _ = look_up_references(settings.records, spec, hosts, str(file))
    if spec.kind not in PLANNED:
        raise Refused(
            f"experiments of kind {spec.kind} are not planned; sft, rm, ppo, rag and eval are.", where=str(file)
        )
    seats, where = seats_and_place(spec, hosts, gpu_memory)
    commands = _commands(spec.kind, file, [*overrides, *_looked_up(spec, references)], hosts, seats)
    found = page(settings, spec, where, commands=commands, tokens_per_second=tokens_per_second, like=like)
    if settings.json:
        print_json(found.document)
    else:
        show(settings, found)
    return 0 if found.fits else Refused.exit_code


@dataclass(frozen=True, slots=True)
class Page:
    """The plan of one experiment, for programs and for people."""

    document: dict[str, Any]
    text: str
    warnings: Sequence[str]
    errors: Sequence[str]
    fits: bool


def show(settings: Settings, found: Page) -> None:
    """Print a plan for people."""
    click.echo(found.text)
    for sentence in found.warnings:
        say(settings, f"warning: {sentence}")
    for sentence in found.errors:
        click.echo(f"error: {sentence}", err=True)


def page(
    settings: Settings,
    spec: AnySpec,
    where: Place,
    *,
    commands: Mapping[str, str],
    tokens_per_second: float | None = None,
    like: str | None = None,
) -> Page:
    """Return the plan of an experiment of a kind that is planned.

    Args:
        settings: with the database.
        spec: its paths are absolute, its references looked up.
        where: what its ranks have.
        commands: that run the same without `engine launch`; may be none.
        tokens_per_second: measured throughput of all ranks.
        like: an experiment that has measured it.

    Raises:
        PlumblineError: if it cannot be planned on this machine.
    """
    from engine.plan.reading import plan_run
    from engine.spec.models import EvalSpec, RagSpec, TrainedSpec

    if isinstance(spec, RagSpec):
        return _index_page(settings, spec, where, commands, like)
    notes: list[str] = []
    if like is not None:
        tokens_per_second, notes = _pace(settings, like, "tokens_per_second", where.ranks)
    if isinstance(spec, EvalSpec):
        return _evaluation_page(spec, where, commands, tokens_per_second, notes)
    assert isinstance(spec, TrainedSpec)
    rows, unknown = _rows(spec)
    notes = [*unknown, *notes]
    planned = plan_run(spec, where, rows=rows, tokens_per_second=tokens_per_second)
    if len(set(where.slots)) > 1 and commands:
        notes.append("The nodes have different slots: give torchrun on each node its own --nproc-per-node.")
    warnings = [*notes, *planned.warnings]
    document = as_document(spec, planned, where, warnings=warnings, commands=commands)
    return Page(document, as_text(spec, planned, where, commands), warnings, planned.errors, planned.fits)


def _rows(spec: TrainedSpec) -> tuple[int | None, list[str]]:
    """Return how many rows the training data has, if that is cheap to know, and what is to be said about it."""
    from engine.spec.models import RmSpec, SftSpec

    file = Path(spec.data.train)
    unknown = " so the number of rows is unknown, and with it " + (
        "that of epochs." if spec.train.steps else "steps and time."
    )
    if isinstance(spec, SftSpec) and spec.data.packing and spec.train.steps is None:
        return None, ["Packed rows are counted when the data is read, so steps and time are unknown."]
    if not file.exists():
        return None, [f"{file} is not on this machine," + unknown]
    if not file.is_file() or file.suffix not in _COUNTED:
        return None, [f"{file} is of a kind that is not counted here," + unknown]
    if isinstance(spec, RmSpec) and not _holds_a_pair_a_row(spec.data, file):
        return None, [f"Pairs are made of the rows of {file} when they are read," + unknown]
    if file.suffix == ".jsonl":
        with file.open("rb") as lines:
            return sum(not line.isspace() for line in lines), []
    from engine.data.sources import count_rows

    return count_rows(file), []


def _holds_a_pair_a_row(data: PreferenceData, file: Path) -> bool:
    """Whether each row is one preference pair, as far as the first one shows."""
    from engine.data.sources import BrokenRows, read_rows

    if data.pairs_per_question or data.format not in ("auto", "pairs", "halueval"):
        return False
    first = next(read_rows(file, BrokenRows("skip")), None)
    shapes = ((data.prompt_key, data.chosen_key, data.rejected_key), ("right_answer", "hallucinated_answer"))
    return first is not None and any(all(key in first.values for key in keys) for keys in shapes)


def _index_page(settings: Settings, spec: RagSpec, where: Place, commands: Mapping[str, str], like: str | None) -> Page:
    from engine.cli.plan_index import index_document, index_text
    from engine.plan.corpus import plan_index

    pace, notes = _pace(settings, like, "chunks_per_second", where.ranks) if like is not None else (None, [])
    index = plan_index(spec, where, chunks_per_second=pace)
    warnings = [*notes, *index.warnings]
    document = index_document(index, where, warnings=warnings, commands=commands)
    return Page(document, index_text(index, where, commands), warnings, index.errors, index.fits)


def _evaluation_page(
    spec: EvalSpec, where: Place, commands: Mapping[str, str], tokens_per_second: float | None, notes: Sequence[str]
) -> Page:
    from engine.cli.plan_evaluation import evaluation_document, evaluation_text
    from engine.plan.evaluation import plan_evaluation

    questions, file = None, Path(spec.questions)
    if file.is_file() and file.suffix == ".jsonl":
        with file.open("rb") as lines:
            questions = sum(not line.isspace() for line in lines)
    if spec.limit:
        questions = spec.limit if questions is None else min(questions, spec.limit)
    planned = plan_evaluation(spec, where, questions=questions, tokens_per_second=tokens_per_second)
    warnings = [*notes, *planned.warnings]
    document = evaluation_document(planned, where, warnings=warnings, commands=commands)
    return Page(document, evaluation_text(planned, where, commands), warnings, planned.errors, planned.fits)


def _looked_up(spec: AnySpec, references: Iterable[str]) -> list[str]:
    """Return settings for the keys that were references: a job has no database to look them up in."""
    from engine.spec.resolve import paths_by_key

    paths = paths_by_key(spec)
    return [f"{key}={paths[key]}" for key in references]


def _pace(settings: Settings, reference: str, name: str, ranks: int) -> tuple[float, list[str]]:
    """Return the median of a metric of an experiment's pace, and what is to be said about it. Raises NotFound."""
    from engine.store import attempts, experiments, series

    store = settings.open_store()
    identity = experiments.resolve(store, reference)
    measured = [value for value in series.read(store, identity, name).value if math.isfinite(value) and value > 0]
    if not measured:
        raise NotFound(f"it has measured no {name}.", where=identity)
    newest = attempts.list_attempts(store, identity)[-1:]
    there = sum(int(row["slots"]) for attempt in newest for row in attempt.placement) or ranks
    notes = [f"{identity} ran on {there} ranks, this runs on {ranks}: the time is a guess."] if there != ranks else []
    return statistics.median(measured), notes


def _commands(
    kind: Kind, file: Path, overrides: Sequence[str], hosts: Hostfile, seats: Sequence[Seat]
) -> dict[str, str]:
    """Return the commands that run the same without `engine launch`. The run directory must be shared by all nodes."""
    from engine.dispatch.job import command_of

    job = [*command_of(kind), str(file.resolve()), "--run-dir", "run"]
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
