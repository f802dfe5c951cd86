"""A launch plan in words: what trains on what, how, where, and the command that does the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from textual.content import Content

from engine.plan.sizes import in_words
from engine.spec.models import AnySpec, Kind, PpoSpec, PreferenceData, TrainedSpec
from engine.spec.ppo import PromptData
from engine.spec.sections import Data, Model
from engine.telemetry.numbers import short
from engine.telemetry.states import State
from tui.intents import Plan
from tui.safe_text import visible
from tui.theme import glyph
from tui.wrapping import Line

_LABEL = 12  # cells
_QUIET = "$foreground 60%"
# What the examples of an optimiser step are.
_ITEMS = {Kind.SFT: "examples a step", Kind.RM: "pairs a step", Kind.PPO: "episodes an update"}
_NOTHING: Line = (0, Content())


def plan_lines(plan: Plan, database: str | None) -> list[Line]:
    """Return the plan, one fact a line. database: what `--db` must say, if anything."""
    lines = [_line(label, value) for label, value in [*_facts(plan.spec), *_inputs(plan), *_places(plan)]]
    lines += [_NOTHING, (2, Content.assemble((f"{glyph(State.SUCCEEDED)} the spec is valid", "$success")))]
    lines += [(2, Content.assemble((f"! {visible(sentence)}", "$warning"))) for sentence in plan.warnings]
    if plan.spec.note:
        lines.insert(0, (0, Content.assemble((visible(plan.spec.note), _QUIET))))
    return [*lines, _NOTHING, (2, Content.assemble((f"$ {visible(plan.request.command(database))}", "$accent")))]


def advice_lines(sentence: str) -> list[Line]:
    """Return what to do, for the place of the plan."""
    return [(0, Content.assemble((sentence, _QUIET)))]


def refusal_lines(sentence: str) -> list[Line]:
    """Return what is wrong, for the place of the plan."""
    lines = [visible(line) for line in sentence.splitlines()]
    signs = [f"{glyph(State.FAILED)} ", *["  "] * len(lines)]
    return [
        (2, Content.assemble((sign, "bold $error"), (line, "$error"))) for sign, line in zip(signs, lines, strict=False)
    ]


def _line(label: str, value: str) -> Line:
    return _LABEL, Content.assemble((f"{label:<{_LABEL}}", _QUIET), visible(value))


def _facts(spec: AnySpec) -> Iterator[tuple[str, str]]:
    yield "kind", spec.kind
    if spec.name:
        yield "name", spec.name
    if isinstance(spec, TrainedSpec):
        train = spec.train
        yield "model", _model(spec.model)
        yield "data", _data(spec.data)
        if isinstance(spec, PpoSpec):
            yield "rewards", ", ".join(f"{short(term.weight)} {name}" for name, term in spec.rewards.items())
            yield "rollout", _rollout(spec)
        yield "length", f"{train.steps} steps" if train.steps else f"{train.epochs:g} epochs"
        yield "batch", f"{train.batch_size} {_ITEMS[spec.kind]}, {train.micro_batch_size} at a time"
        yield "rate", f"{short(train.lr)} {train.schedule.kind}, {train.schedule.warmup_steps} steps of warm-up"
        yield "engine", f"ZeRO {train.zero_stage}, {train.precision}, seed {spec.seed}"
        every = f"every {train.checkpoint_every} steps" if train.checkpoint_every else "at the end"
        yield "checkpoint", f"{every}, {train.keep_checkpoints} kept"


def _data(data: Data | PreferenceData | PromptData) -> str:
    name = Path(data.train).name
    if isinstance(data, PromptData):
        return f"{name}, at most {data.max_prompt_length} tokens a prompt and {data.max_response_length} an answer"
    return f"{name} ({data.format}), at most {data.max_length} tokens a row"


def _rollout(spec: PpoSpec) -> str:
    answers = spec.rollout.samples_per_prompt
    many = f"{answers} answers" if answers > 1 else "an answer"
    return f"{spec.rollout.prompts} prompts a step, {many} to each; {spec.ppo.estimator}"


def _model(model: Model) -> str:
    if model.architecture is None:
        return str(model.path)
    shape = model.architecture
    return f"from scratch: {shape.layers} layers, width {shape.hidden_size}, {shape.heads} heads"


def _inputs(plan: Plan) -> Iterator[tuple[str, str]]:
    for taken in plan.inputs:
        yield "from", f"{taken.reference}, made by {taken.parent_id}"


def _places(plan: Plan) -> Iterator[tuple[str, str]]:
    nodes, ranks = plan.ranks
    if plan.request.hostfile is None:
        yield "where", f"this machine, {ranks} slot{'s' if ranks != 1 else ''}, without SSH"
        yield from _memory(plan)
        return
    hosts = [node.host for node in plan.hosts.nodes[:nodes]]
    names = ", ".join(hosts[:4]) + (f" and {len(hosts) - 4} more" if len(hosts) > 4 else "")
    yield "where", f"{nodes} node{'s' if nodes != 1 else ''}, {ranks} ranks: {names}"
    yield from _memory(plan)


def _memory(plan: Plan) -> Iterator[tuple[str, str]]:
    if plan.memory is None:
        return
    total, capacity = in_words(plan.memory.total), in_words(plan.memory.capacity)
    peak = f", the most to {plan.memory.peak.phase}" if len(plan.memory.phases) > 1 else ""
    yield "memory", f"about {total} of {capacity} a rank{peak}"
