"""The plan of an evaluation, as `engine plan` prints it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from engine.cli.output import duration, table
from engine.cli.plan_report import launchers
from engine.plan.sizes import in_words
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.plan.evaluation import EvalPlan
    from engine.plan.place import Place


def evaluation_document(
    planned: EvalPlan, where: Place, *, warnings: Sequence[str], commands: Mapping[str, str]
) -> dict[str, Any]:
    """Return the document of `--json`."""
    shape = planned.network.shape
    return {
        "kind": "eval",
        "fits": planned.fits,
        "model": {"family": shape.family, "parameters": shape.parameters, "exact": shape.exact},
        "precision": planned.precision,
        "nodes": len(where.slots),
        "ranks": where.ranks,
        "on_cpu": where.on_cpu,
        "per_gpu": {**asdict(planned.amounts), "total": planned.amounts.total, "capacity": planned.capacity},
        "host_per_node": planned.host,
        "answering": asdict(planned.decoding),
        "answers_at_most": planned.answers,
        "seconds_at_most": planned.seconds,
        "commands": dict(commands),
        "warnings": list(warnings),
        "errors": list(planned.errors),
    }


def evaluation_text(planned: EvalPlan, where: Place, commands: Mapping[str, str]) -> str:
    """Return the page for people."""
    unit = "CPU worker" if where.on_cpu else "GPU"
    facts = list(_facts(planned, where, unit))
    width = max(len(label) for label, _ in facts)
    amounts = [(name, amount) for name, amount in asdict(planned.amounts).items() if amount]
    rows = [[name, in_words(amount)] for name, amount in [*amounts, ("total", planned.amounts.total)]]
    return "\n".join(
        [
            *(f"{label:<{width}}  {visible(value)}" for label, value in facts),
            "",
            table([f"per {unit}", ""], [*rows, ["capacity", in_words(planned.capacity)]], right=(1,)),
            *launchers(commands),
        ]
    )


def _facts(planned: EvalPlan, where: Place, unit: str) -> Iterator[tuple[str, str]]:
    shape, decoding = planned.network.shape, planned.decoding
    exact = "" if shape.exact else "about "
    yield (
        "model",
        f"{shape.family}, {exact}{shape.parameters:,} parameters, {planned.precision}; each rank has all of it",
    )
    nodes, ranks = len(where.slots), where.ranks
    yield (
        "where",
        f"{nodes} node{'s' * (nodes != 1)}, {ranks} rank{'s' * (ranks != 1)}, {in_words(planned.capacity)} a {unit}",
    )
    fits = "fits" if planned.amounts.total <= planned.capacity else "does not fit"
    yield (
        "answers",
        f"{decoding.sequences} at once a rank, prompts of about {decoding.prompt} tokens, at most {decoding.response} "
        f"written: {fits}",
    )
    if planned.host:
        yield "host", f"{in_words(planned.host)} of host memory a node"
    yield "time", _time(planned)


def _time(planned: EvalPlan) -> str:
    if planned.seconds is not None:
        return f"at most {duration(planned.seconds)}, at the measured throughput"
    if planned.answers is None:
        return "unknown, as the number of questions is"
    return f"unknown until measured, for at most {planned.answers:,} answers"
