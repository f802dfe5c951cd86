"""What is told of the slot and the node under the cursor, of the runs in the grid, and of a preflight."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from engine.telemetry.numbers import duration, short
from tui.canvas.spark import sparkline
from tui.cluster.facts import ClusterFacts, Samples
from tui.cluster.slot_cells import rate, silent_seconds
from tui.text.pane import LABEL, QUIET, head, joined, pair, plain
from tui.text.safe import visible
from tui.text.wrapping import Line
from tui.theme import STATE_COLORS, glyph

if TYPE_CHECKING:
    from engine.dispatch.slot_map import NodeSlots, Seating, Slot
    from engine.store.experiment import Experiment

_MOST_PROCESSES = 6
_ASPECT_INKS = {"ok": "$success", "warn": "$warning", "fail": "$error"}
_ASPECT_WORDS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


def detail_text(facts: ClusterFacts, node: NodeSlots, slot: Slot | None, now: float, width: int) -> Content:
    """Return the text of the detail pane. now: seconds since the epoch. width: cells of a line."""
    runs = {run.id: run for run in facts.slot_map.runs}
    key, samples = facts.history
    known = samples if key == node.key else ()
    blocks: list[Iterator[Line]] = []
    if slot is not None:
        blocks += [_slot(node, slot, runs, now), _gpu(slot)]
    blocks += [_node(node, now), _machine(node.standing), _history(known, slot, width), _problems(node.standing)]
    return joined(blocks, width)


def _slot(node: NodeSlots, slot: Slot, runs: Mapping[str, Experiment], now: float) -> Iterator[Line]:
    name = slot.gpu.get("name")
    yield head(f"{node.host} : slot {slot.number}" + (f"  {name}" if name else ""))
    if slot.fault is not None:
        yield plain(slot.fault, "$error")
    if slot.seating is not None:
        yield from _seating(slot.seating, runs.get(slot.seating.experiment_id), now)
    elif slot.foreign is not None:
        yield pair("held by", slot.foreign, "$warning")
    elif node.heard_at is None:
        yield plain("Not heard yet: who uses it is not known.", QUIET)
    else:
        yield plain("drained: nothing new begins here" if node.drained else "free", QUIET)


def _seating(seating: Seating, run: Experiment | None, now: float) -> Iterator[Line]:
    if run is not None:
        name = f"  {visible(run.name)}" if run.name != run.id else ""
        sign = f"{glyph(run.state)} {run.state.value}"
        yield LABEL, Content.assemble((f"{'run':<{LABEL}}", QUIET), (run.id, "bold"), name)
        yield LABEL, Content.assemble((f"{'':<{LABEL}}", QUIET), (sign, STATE_COLORS[run.state]))
    standing = seating.standing
    pid = standing.get("pid")
    yield pair("rank", str(seating.rank) + (f", pid {pid}" if pid else ""))
    if seating.straggles is not None:
        yield pair("straggles", seating.straggles, "bold underline $warning")
    if standing.get("step") is not None:
        phase = str(standing.get("phase") or "").replace("_", " ")
        yield pair("step", f"{standing['step']}" + (f", {phase}" if phase else ""))
    if standing.get("ago") is not None and seating.heard_at is not None:
        yield pair("mark", f"{duration(float(standing['ago']) + max(0.0, now - seating.heard_at))} old")
    if standing.get("cpu_percent") is not None:
        yield pair("cpu", f"{standing['cpu_percent']}% of a core")
    if standing.get("resident_bytes") is not None:
        yield pair("memory", _bytes(standing["resident_bytes"]))


def _gpu(slot: Slot) -> Iterator[Line]:
    gpu = slot.gpu
    if not gpu:
        return
    yield head("GPU")
    yield pair("busy", _known(gpu.get("utilization_percent"), "%"))
    yield pair("memory", _of(gpu.get("memory_used_bytes"), gpu.get("memory_total_bytes")))
    yield pair("power", f"{_known(gpu.get('power_w'), ' W')}, {_known(gpu.get('temperature_c'), ' °C')}")
    for process in list(gpu.get("processes") or ())[:_MOST_PROCESSES]:
        ours = "" if process.get("ours") else "  not of Plumbline"
        command = str(process.get("command") or "").rpartition("/")[2]
        told = f"{process.get('pid')} {command} {_bytes(process.get('memory_bytes'))}{ours}"
        yield pair(str(process.get("user") or "?")[: LABEL - 1], told, "" if process.get("ours") else "$warning")


def _node(node: NodeSlots, now: float) -> Iterator[Line]:
    yield head(f"node {node.host}")
    if node.drained:
        yield plain("drained: nothing new begins there, what runs goes on; D ends that", "$warning")
    silent = silent_seconds(node, now)
    if silent is not None:
        told = f"silent {duration(silent)}, values below are old" if math.isfinite(silent) else "not heard yet"
        yield plain(told, "bold $error")
        if node.message:
            yield plain(node.message, "$error")
    elif node.heard_at is None:
        yield plain("never heard; p looks whether runs can start there", QUIET)
    elif not node.watched:
        yield plain(f"no run is there; last heard {duration(now - node.heard_at)} ago", QUIET)
    else:
        yield pair("heard", f"{duration(now - node.heard_at)} ago")
    busy = sum(slot.seating is not None or slot.foreign is not None for slot in node.slots)
    yield pair("slots", f"{busy} of {len(node.slots)} busy")
    if node.runs:
        yield pair("runs", " ".join(node.runs))


def _machine(standing: Mapping[str, Any]) -> Iterator[Line]:
    cpu, network = standing.get("cpu") or {}, standing.get("network") or {}
    if cpu:
        percent = f"{cpu['percent']:.0f}% of " if cpu.get("percent") is not None else ""
        yield pair("cpu", f"{percent}{cpu.get('cores', '?')} cores")
    if cpu.get("load"):
        yield pair("load", " ".join(short(float(value)) for value in cpu["load"]))
    for name in ("memory", "shm", "disk"):
        space = standing.get(name) or {}
        total = space.get("total_bytes")
        used = space.get("used_bytes")
        if used is None and total is not None and space.get("free_bytes") is not None:
            used = total - space["free_bytes"]
        if total:
            yield pair(name, _of(used, total))
    if network:
        told = [f"{rate(network[key])} {way}" for way, key in _WAYS if key in network]
        yield pair("network", ", ".join(told))


_WAYS = (("in", "in_bytes_per_second"), ("out", "out_bytes_per_second"))


def _history(samples: Samples, slot: Slot | None, width: int) -> Iterator[Line]:
    """Yield how busy the slot's GPU was, else the cores of the node, as a sparkline over the last hour."""
    gpu = slot is not None and bool(slot.gpu)
    values = [_busy(standing, slot.number if gpu and slot is not None else None) for _, standing in samples]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return
    minutes = duration(samples[-1][0] - samples[0][0])
    yield head(f"{'GPU' if gpu else 'CPU'} in the last {minutes}")
    yield 0, Content.assemble((sparkline([*known], max(8, width - 8)), "$accent"), f"  {known[-1]:.0f}%")


def _busy(standing: Mapping[str, Any], gpu: int | None) -> float | None:
    if gpu is None:
        told = (standing.get("cpu") or {}).get("percent")
    else:
        found: Mapping[str, Any] = next((each for each in standing.get("gpus") or () if each.get("index") == gpu), {})
        told = found.get("utilization_percent")
    return None if told is None else float(told)


def _problems(standing: Mapping[str, Any]) -> Iterator[Line]:
    problems = standing.get("problems") or ()
    if problems:
        yield head("problems")
    for problem in problems:
        yield plain(str(problem), "$warning")


def legend(facts: ClusterFacts, names: Mapping[str, str], width: int) -> Content:
    """Return the letters of the runs and what the other signs mean, on as many lines of `width` cells as it takes."""
    from tui.canvas.charset import current
    from tui.cluster.slot_cells import INKS
    from tui.theme import SERIES_COLORS

    parts: list[Content] = []
    for place, run in enumerate(facts.slot_map.runs):
        name = f" {visible(run.name)}" if run.name != run.id else ""
        parts.append(
            Content.assemble((names[run.id], f"bold {SERIES_COLORS[place % INKS]}"), f" {run.id}", (name, QUIET))
        )
    charset = current()
    slots = [slot for node in facts.slot_map.nodes for slot in node.slots]
    parts.append(Content.assemble((f"{charset.separator} free", QUIET)))
    if any(slot.foreign is not None for slot in slots):
        parts.append(Content.assemble(("# others", "$warning")))
    if any(slot.fault is not None for slot in slots):
        parts.append(Content.assemble((f"{charset.gap} fault", "$error")))
    if any(slot.seating is not None and slot.seating.straggles for slot in slots):
        parts.append(Content.assemble(("underlined", "underline"), (" straggles", QUIET)))
    lines: list[Content] = []
    for part in parts:
        longer = Content("   ").join([lines[-1], part]) if lines else part
        if lines and longer.cell_length <= width:
            lines[-1] = longer
        else:
            lines.append(part)
    return Content("\n").join(lines)


def check_lines(document: Mapping[str, Any]) -> list[Line]:
    """Return what `engine cluster check --json` found: a line a node, and below it every failure and warning."""
    nodes: Sequence[Mapping[str, Any]] = document["nodes"]
    wide = max((len(visible(str(node["host"]))) for node in nodes), default=0)
    lines: list[Line] = []
    for node in nodes:
        state = str(node["state"])
        aspects = [f"{name} {_ASPECT_WORDS.get(told, told)}" for name, told in node["aspects"].items() if told]
        fine = all(told in (None, "ok") for told in node["aspects"].values())
        lines.append(
            (
                wide + 8,
                Content.assemble(
                    f"{visible(str(node['host'])):<{wide}}  ",
                    (f"{_ASPECT_WORDS.get(state, state):<6}", f"bold {_ASPECT_INKS.get(state, '')}".strip()),
                    (f"{len(aspects)} things looked at" if fine else "  ".join(aspects), QUIET),
                ),
            )
        )
    for finding in document["findings"]:
        severity = str(finding["severity"])
        if severity == "ok":
            continue
        hint = f" {finding['hint']}" if finding.get("hint") else ""
        word = f"{_ASPECT_WORDS.get(severity, severity):<6}"
        lines.append(
            (
                6,
                Content.assemble(
                    (word, f"bold {_ASPECT_INKS.get(severity, '')}".strip()),
                    f"{visible(str(finding['host']))}: {visible(str(finding['message']))}",
                    (visible(hint), QUIET),
                ),
            )
        )
    return lines


def _known(value: Any, unit: str) -> str:
    return "–" if value is None else f"{round(float(value))}{unit}"


def _of(used: Any, total: Any) -> str:
    if total is None:
        return _bytes(used)
    share = f" ({100 * used / total:.0f}%)" if used is not None and total else ""
    return f"{_bytes(used)} of {_bytes(total)}{share}"


def _bytes(value: Any) -> str:
    from engine.plan.sizes import in_words

    return "–" if value is None else in_words(float(value))
