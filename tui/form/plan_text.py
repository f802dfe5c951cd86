"""A launch plan in words: what it takes, when it begins, how long it lasts, and the command that does the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from textual.content import Content

from engine.dispatch.waiting import hosts_in_words
from engine.plan.sizes import in_words
from engine.spec.keys import listing
from engine.spec.models import AnySpec, Kind, PpoSpec, PreferenceData, TrainedSpec
from engine.spec.ppo import PromptData
from engine.spec.sections import Data, Model
from engine.telemetry.numbers import duration, short
from engine.telemetry.states import State
from tui.canvas.charset import current
from tui.form.launches import PipelinePlan, Plan, near
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import glyph

if TYPE_CHECKING:
    from engine.dispatch.outlook import Outlook
    from engine.dispatch.readiness import Ready
    from engine.dispatch.survey import Machine
    from engine.plan.memory import MemoryPlan
    from engine.plan.run import DiskPlan

_LABEL = 12  # cells
_BAR = 14  # cells
_SMALL = 0.01  # of the memory; what takes less is told together
_TIGHT = 0.92  # of the memory
_QUIET = "$foreground 60%"
# What the examples of an optimiser step are.
_ITEMS = {Kind.SFT: "examples a step", Kind.RM: "pairs a step", Kind.PPO: "episodes an update"}
_PARTS = ("weights", "gradients", "optimizer", "activations", "generation")
_NOTHING: Line = (0, Content())


def plan_lines(plan: Plan, database: str | None) -> list[Line]:
    """Return the plan, one fact a line. database: what `--db` must say, if anything."""
    lines = [*_needs(plan), _NOTHING, *(_line(label, value) for label, value in _facts(plan.spec))]
    if plan.spec.note:
        lines.append(_line("note", plan.spec.note))
    lines += [_NOTHING, *_warned(plan.warnings), _sound("the spec is valid; ^j queues it")]
    return [*lines, _NOTHING, _command(plan.request.command(database))]


def pipeline_lines(plan: PipelinePlan, database: str | None) -> list[Line]:
    """Return the plan of a pipeline, a stage after the other."""
    lines = [_line("where", _where(plan.request.hostfile, plan))]
    if plan.survey is not None:
        lines.append(_line("free now", _free(plan.survey.machines)))
    for name, identity in plan.ready.taken.items():
        lines.append(_line(name, f"is {identity}, which was launched before"))
    lines.append(_NOTHING)
    parents = {draft.stage: draft.parents for draft in plan.ready.drafts}
    width = max(_LABEL, *(len(name) + 2 for name in plan.ready.stages))
    for name, ready in plan.ready.stages.items():
        lines += _stage(name, ready, parents[name], width)
    count = len(plan.ready.stages)
    lines += [_NOTHING, *_warned(plan.warnings)]
    lines.append(_sound(f"its {count} stages are valid; ^j queues them" if count > 1 else "it is valid; ^j queues it"))
    return [*lines, _NOTHING, _command(plan.request.command(database))]


def advice_lines(sentence: str) -> list[Line]:
    """Return what to do, for the place of the plan."""
    return [(0, Content.assemble((sentence, _QUIET)))]


def refusal_lines(sentence: str, command: str | None = None) -> list[Line]:
    """Return what is wrong, for the place of the plan. command: what would be refused, too."""
    lines = [visible(line) for line in sentence.splitlines()]
    signs = [f"{glyph(State.FAILED)} ", *["  "] * len(lines)]
    told: list[Line] = [
        (2, Content.assemble((sign, "bold $error"), (line, "$error"))) for sign, line in zip(signs, lines, strict=False)
    ]
    return told if command is None else [*told, _NOTHING, (2, Content.assemble((f"$ {visible(command)}", _QUIET)))]


def question(plan: Plan | PipelinePlan) -> str:
    """Return what is asked before a launch."""
    file = plan.request.hostfile or plan.hosts.path
    place = "this machine" if file is None else near(file)
    if isinstance(plan, PipelinePlan):
        count = len(plan.ready.stages)
        return f"Launch {count} stage{'s' if count != 1 else ''} of {visible(plan.name)} on {visible(place)}?"
    nodes, _ = plan.ranks
    if place != "this machine":
        place = f"{nodes} node{'s' if nodes != 1 else ''} of {place}"
    return f"Launch {visible(plan.name) or plan.spec.kind} on {visible(place)}?"


def cost(plan: Plan | PipelinePlan) -> str:
    """Return what a launch takes, and when."""
    if plan.request.force and isinstance(plan, PipelinePlan):
        return f"It is forced: its stages begin also where a plan says that they cannot run. {_when(plan)}"
    if isinstance(plan, Plan) and plan.against is not None:
        return f"It is forced: its plan says that it cannot run. {_when(plan)}"
    return _when(plan)


def _when(plan: Plan | PipelinePlan) -> str:
    if isinstance(plan, PipelinePlan):
        names = list(plan.ready.stages)
        few = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        return f"{few}; each begins as soon as what it takes is made and its nodes are free."
    _, ranks = plan.ranks
    if plan.ready.awaited:
        return f"It begins when {listing(list(plan.ready.awaited), 'and')} succeeded, on {_count(ranks, 'slot')}."
    return f"It starts as soon as {ranks} slot{'s are' if ranks != 1 else ' is'} free."


def _line(label: str, value: str | Content, width: int = _LABEL) -> Line:
    text = visible(value) if isinstance(value, str) else value
    return width, Content.assemble((f"{visible(label)[: width - 1]:<{width}}", _QUIET), text)


def _command(command: str) -> Line:
    return 2, Content.assemble((f"$ {visible(command)}", "$accent"))


def _sound(sentence: str) -> Line:
    return 2, Content.assemble((f"{glyph(State.SUCCEEDED)} {sentence}", "$success"))


def _warned(sentences: Iterable[str]) -> Iterator[Line]:
    for sentence in sentences:
        yield 2, Content.assemble((f"! {visible(sentence)}", "$warning"))


def _needs(plan: Plan) -> Iterator[Line]:
    fit = plan.fit
    if fit is not None and fit.memory is not None:
        yield from _memory(fit.memory)
    if fit is not None and fit.plan is not None:
        yield _line("disk", _disk(fit.plan.disk, plan.machines))
    awaited = list(plan.ready.awaited)
    if awaited:
        have = "have" if len(awaited) > 1 else "has"
        yield _line("memory", f"planned when {listing(awaited, 'and')} {have} made what it takes")
    yield _line("where", _where(plan.request.hostfile, plan))
    yield _line("starts", _starts(plan))
    yield _line("about", _about(plan.outlook))
    for taken in plan.inputs:
        yield _line("takes", f"{taken.reference}, made by {taken.made_by(taken.parent_id)}")


def _memory(memory: MemoryPlan) -> Iterator[Line]:
    share = memory.total / memory.capacity
    charset = current()
    filled = min(_BAR, max(1, round(_BAR * share)))
    ink = "$error" if share > 1 else "$warning" if share > _TIGHT else "$success"
    total, capacity = in_words(memory.total), in_words(memory.capacity)
    number, unit = total.split(" ")
    told = f" {number if capacity.endswith(unit) else total} of {capacity} a rank"
    bar = Content.assemble((charset.bar[0] * filled, ink), (charset.bar[1] * (_BAR - filled), "$foreground 30%"))
    yield _line("memory", bar + Content(told))
    amounts = memory.amounts
    known = {name: getattr(amounts, name) for name in _PARTS}
    large = {name: size for name, size in known.items() if size >= _SMALL * memory.total}
    rest = memory.total - sum(large.values())
    peak = f"the most to {memory.peak.phase}: " if len(memory.phases) > 1 else ""
    if large:
        yield _line(
            "", peak + " + ".join(f"{in_words(size)} {name}" for name, size in [*large.items(), ("other", rest)])
        )
    if memory.host:
        yield _line("host memory", f"{in_words(memory.host)} a node")


def _disk(disk: DiskPlan, machines: Sequence[Machine]) -> str:
    one = in_words(disk.checkpoint)
    checkpoints = f"{disk.checkpoints} checkpoints of {one}" if disk.checkpoints > 1 else f"a checkpoint of {one}"
    text = f"{in_words(disk.total)}: {checkpoints}, and the export"
    known = [(each.disk_free, each.host) for each in machines if each.disk_free is not None]
    if not known:
        return text
    free, host = min(known)
    return f"{text}; {in_words(free)} free on {host}"


def _where(hostfile: Path | None, plan: Plan | PipelinePlan) -> str:
    hosts = plan.hosts
    if hosts.path is None and hostfile is None and all(node.is_local for node in hosts.nodes):
        return "this machine, 1 slot, without SSH"
    if isinstance(plan, PipelinePlan):
        return f"{_count(len(hosts.nodes), 'node')}, {_count(sum(node.slots for node in hosts.nodes), 'slot')}"
    nodes, ranks = plan.ranks
    names = hosts_in_words([seat.host for seat in plan.seats])
    return f"{_count(nodes, 'node')}, {_count(ranks, 'rank')}: {names}"


def _starts(plan: Plan) -> str:
    before = [*plan.grounds.after, *plan.ready.awaited]
    if before:
        return f"when {listing(before, 'and')} {'have' if len(before) > 1 else 'has'} succeeded"
    if plan.outlook is None:
        return "at once"
    if plan.outlook.begins:
        known = len(plan.machines)
        free = sum(each.free == len(each.holders) for each in plan.machines)
        if not known:
            return "at once, if its nodes are free: nothing is known of them yet"
        return f"at once: {free} of {_count(known, 'node')} that it takes {'is' if free == 1 else 'are'} free"
    ahead = f", behind {_count(plan.outlook.ahead, 'other')}" if plan.outlook.ahead else ""
    return f"it waits{ahead}: {plan.outlook.why_not}"


def _about(outlook: Outlook | None) -> str:
    if outlook is None or outlook.seconds is None:
        return "not known: no run like it has finished"
    return duration(outlook.seconds) + (f", as {outlook.like} took" if outlook.like else "")


def _free(machines: Sequence[Machine]) -> str:
    if not machines:
        return "not known: nothing has run yet"
    free = sum(each.free == len(each.holders) for each in machines)
    return f"{free} of {_count(len(machines), 'node')}"


def _stage(name: str, ready: Ready, parents: Sequence[str], width: int) -> Iterator[Line]:
    slots = sum(seat.slots for seat in ready.seats)
    told = [f"{ready.spec.kind}, {_count(len(ready.seats), 'node')}, {_count(slots, 'rank')}"]
    if parents:
        told.append(f"after {listing(list(parents), 'and')}")
    if ready.awaited:
        told.append(f"waits for {listing(list(ready.awaited), 'and')}")
    if ready.fit is not None and ready.fit.memory is not None:
        memory = ready.fit.memory
        told.append(f"{in_words(memory.total)} of {in_words(memory.capacity)} a rank")
    yield _line(name, "; ".join(told), width)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _facts(spec: AnySpec) -> Iterator[tuple[str, str]]:
    if isinstance(spec, TrainedSpec):
        train = spec.train
        yield "model", _model(spec.model)
        yield "data", _data(spec.data)
        if isinstance(spec, PpoSpec):
            yield "rewards", ", ".join(f"{short(term.weight)} {name}" for name, term in spec.rewards.items())
            yield "rollout", _rollout(spec)
        plural = "" if train.epochs == 1 else "s"
        yield "length", f"{train.steps} steps" if train.steps else f"{train.epochs:g} epoch{plural}"
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
