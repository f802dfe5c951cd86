"""What `engine cluster` found, as it prints it: documents for programs, pages for people."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.cli.output import duration, number, table
from engine.cluster.preflight import ASPECTS, Severity, states
from engine.cluster.setup import hostfile_lines
from engine.cluster.slowness import slow_latencies, slow_throughputs
from engine.telemetry.json_values import iso_time
from engine.telemetry.visible import visible

if TYPE_CHECKING:
    from engine.cluster.bench import Measured
    from engine.cluster.preflight import Facts, Finding
    from engine.cluster.setup import Outcome
    from engine.cluster.slowness import Pair, Slow
    from engine.cluster.standing import Standing


def check_document(hostfile: Path, facts: Sequence[Facts], findings: Sequence[Finding], seconds: float) -> Any:
    """Return the document of `engine cluster check --json`."""
    count = {severity: sum(finding.severity is severity for finding in findings) for severity in Severity}
    nodes = []
    for each in facts:
        aspects = states(each, findings)
        worst = next((one for one in (Severity.FAIL, Severity.WARN) if one in aspects.values()), Severity.OK)
        nodes.append(
            {
                "host": each.node.host,
                "slots": each.node.slots,
                "state": worst.lower(),
                "aspects": {aspect: state and state.lower() for aspect, state in aspects.items()},
                "clock_skew": each.skew,
                "clock_skew_uncertainty": each.uncertainty if each.skew is not None else None,
                "hashes": dict(each.hashes),
                "facts": each.probe,
            }
        )
    return {
        "hostfile": str(hostfile),
        "failures": count[Severity.FAIL],
        "warnings": count[Severity.WARN],
        "seconds": round(seconds, 3),
        "nodes": nodes,
        "findings": [
            {
                "host": finding.host,
                "aspect": finding.aspect,
                "severity": finding.severity.lower(),
                "message": finding.message,
                "hint": finding.hint,
            }
            for finding in findings
        ],
    }


def check_page(facts: Sequence[Facts], findings: Sequence[Finding]) -> str:
    """Return the table of nodes and aspects, and below it a sentence for each failure and warning."""
    by_node = {each.node.host: states(each, findings) for each in facts}
    shown = [aspect for aspect in ASPECTS if any(found[aspect] is not None for found in by_node.values())]
    rows = [[host, *(found[aspect] or "–" for aspect in shown)] for host, found in by_node.items()]
    parts = [table(["NODE", *(aspect.upper() for aspect in shown)], rows)]
    sentences = [
        f"{severity:<4}  {', '.join(hosts)}: {visible(message)}" + (f"\n      {visible(hint)}" if hint else "")
        for (severity, message, hint), hosts in _grouped(findings).items()
    ]
    if sentences:
        parts.append("\n".join(sentences))
    failed = {finding.host for finding in findings if finding.severity is Severity.FAIL}
    ready = len(facts) - len(failed)
    nodes = f"{len(facts)} node{'s' if len(facts) != 1 else ''}"
    parts.append(f"{nodes}: all are ready." if not failed else f"{nodes}: {ready} ready, {len(failed)} not.")
    return "\n\n".join(parts)


def _grouped(findings: Sequence[Finding]) -> dict[tuple[str, str, str | None], list[str]]:
    """Return by sentence the hosts that it is true of."""
    found: dict[tuple[str, str, str | None], list[str]] = {}
    for finding in findings:
        found.setdefault((finding.severity, finding.message, finding.hint), []).append(finding.host)
    return found


def status_document(hostfile: Path, found: Sequence[Standing], drained: Collection[str] | None) -> Any:
    """Return the document of `engine cluster status --json`. drained: hosts; null where there is no database."""
    nodes = []
    for each in found:
        problem = None if each.error is None else {"message": each.error.message, "hint": each.error.hint}
        vitals = {key: value for key, value in each.vitals.items() if key not in ("reply", "time")}
        leases = {str(slot): dict(holder) for slot, holder in each.leases.items()}
        shut = None if drained is None else each.node.host in drained
        nodes.append(
            {
                "host": each.node.host,
                "slots": each.node.slots,
                "drained": shut,
                "error": problem,
                "leases": leases,
                **vitals,
            }
        )
    return {"hostfile": str(hostfile), "nodes": nodes}


def status_page(found: Sequence[Standing], drained: Collection[str]) -> str:
    """Return a row for each node, and below it what holds its slots and what cannot be reached."""
    rows, below = [], []
    for each in found:
        shut = ", drained" if each.node.host in drained else ""
        if each.error is not None:
            rows.append([each.node.host, f"unreachable{shut}", "–", "–", "–", "–", "–"])
            below.append(f"{each.node.host}: {visible(each.error.message)} {visible(each.error.hint or '')}".rstrip())
            continue
        vitals, gpus = each.vitals, each.vitals["gpus"]
        memory, load = vitals["memory"], vitals["load"][0]
        taken = len(each.leases)
        rows.append(
            [
                each.node.host,
                ("free" if not taken else "busy" if taken >= each.node.slots else "partly") + shut,
                f"{taken}/{each.node.slots}",
                f"{load:.1f}/{vitals['cores']}" if load is not None else "–",
                _used(memory["total"] - memory["available"], memory["total"]) if memory["available"] else "–",
                " ".join(number(gpu["utilization_percent"]) for gpu in gpus) or "–",
                _used(sum(gpu["memory_used_bytes"] or 0 for gpu in gpus), _total(gpus)) if gpus else "–",
            ]
        )
        below += [f"{each.node.host} {_slots(slots)}: {visible(who)}" for who, slots in _holders(each).items()]
    header = ["NODE", "STATE", "SLOTS", "LOAD/CORES", "MEMORY GB", "GPU %", "GPU MEMORY GB"]
    page = table(header, rows, right=(2, 3, 4, 6))
    return page + ("\n\n" + "\n".join(below) if below else "")


def _total(gpus: Sequence[Any]) -> int:
    return sum(gpu["memory_total_bytes"] or 0 for gpu in gpus)


def _used(used: int, total: int) -> str:
    return f"{used / 1e9:.0f}/{total / 1e9:.0f}"


def _slots(slots: Sequence[int]) -> str:
    return f"slot{'s' if len(slots) > 1 else ''} {', '.join(map(str, slots))}"


def _holders(standing: Standing) -> dict[str, list[int]]:
    """Return by who holds them the slots."""
    found: dict[str, list[int]] = {}
    for slot, holder in sorted(standing.leases.items()):
        user, database = holder.get("user"), holder.get("database")
        words = [str(holder.get("experiment") or "an experiment that cannot be told")]
        words += [f"of {user}"] if user else []
        words += [f"in {database}"] if database else []
        words += [f"since {iso_time(holder['since'])}"] if holder.get("since") else []
        found.setdefault(" ".join(words), []).append(slot)
    return found


def bench_document(hostfile: Path, measured: Measured) -> Any:
    """Return the document of `engine cluster bench --json`."""

    def matrix(values: Mapping[Pair, float]) -> Any:
        return [{"from": a, "to": b, "value": value} for (a, b), value in values.items()]

    def slow(found: Sequence[Slow]) -> Any:
        return [{"hosts": list(each.hosts), "value": each.value, "typical": each.typical} for each in found]

    return {
        "hostfile": str(hostfile),
        "hosts": list(measured.hosts),
        "latency": {"unit": "s", "pairs": matrix(measured.latency)},
        "throughput": {"unit": "bytes/s", "pairs": matrix(measured.throughput)},
        "allreduce": None if measured.allreduce is None else dict(measured.allreduce),
        "slow": {
            "latency": slow(slow_latencies(measured.latency)),
            "throughput": slow(slow_throughputs(measured.throughput)),
        },
        "problems": [
            *({"from": a, "to": b, "message": message} for (a, b), message in measured.problems.items()),
            *({"from": host, "to": None, "message": error.message} for host, error in measured.unreachable.items()),
            *(
                [{"from": None, "to": None, "message": measured.allreduce_problem}]
                if measured.allreduce_problem
                else []
            ),
        ],
    }


def bench_page(measured: Measured) -> str:
    """Return both matrices, the all-reduce, and a sentence for each slow node or link."""
    parts = [
        "Round trip, ms (row: from, column: to)\n" + _matrix(measured, measured.latency, 1e3),
        "Throughput, Gbit/s\n" + _matrix(measured, measured.throughput, 8e-9),
    ]
    if measured.allreduce is not None:
        found = measured.allreduce
        parts.append(
            f"All-reduce ({found['backend']}, {found['ranks']} ranks, {found['bytes'] / 1e6:.0f} MB): "
            f"{number(found['seconds'] * 1e3)} ms, bus bandwidth {number(found['bus_bandwidth'] * 8e-9)} Gbit/s"
        )
    sentences = [f"{host}: {visible(str(error.message))}" for host, error in measured.unreachable.items()]
    sentences += [f"{a} → {b}: {visible(message)}." for (a, b), message in measured.problems.items()]
    if measured.allreduce_problem is not None:
        sentences.append(f"The all-reduce could not be measured: {visible(measured.allreduce_problem)}")
    for each in slow_latencies(measured.latency):
        told = f"{number(each.value * 1e3)} ms a round trip, {number(each.typical * 1e3)} ms is typical here"
        sentences.append(_named(each, f"answers slowly: {told}"))
    for each in slow_throughputs(measured.throughput):
        told = f"{number(each.value * 8e-9)} Gbit/s, {number(each.typical * 8e-9)} is typical here"
        sentences.append(_named(each, f"is slow: {told}"))
    if not sentences and len(measured.hosts) > 2:
        sentences.append("No node and no link stands out.")
    if sentences:
        parts.append("\n".join(sentences))
    return "\n\n".join(parts)


def _named(slow: Slow, what: str) -> str:
    if len(slow.hosts) == 1:
        return f"{slow.hosts[0]} {what}, on its best link."
    return f"The link between {' and '.join(slow.hosts)} {what}."


def _matrix(measured: Measured, values: Mapping[Pair, float], factor: float) -> str:
    def cell(a: str, b: str) -> str:
        return "·" if a == b else number(values[a, b] * factor) if (a, b) in values else "FAIL"

    rows = [[a, *(cell(a, b) for b in measured.hosts)] for a in measured.hosts]
    return table(["", *measured.hosts], rows, right=range(1, len(measured.hosts) + 1))


def setup_document(hostfile: Path, outcomes: Sequence[Outcome]) -> Any:
    """Return the document of `engine cluster setup --json`."""
    nodes = [
        {
            "host": each.node.host,
            "python": each.python,
            "done": each.done or None,
            "seconds": round(each.seconds, 3),
            "error": None if each.error is None else {"message": each.error.message, "hint": each.error.hint},
        }
        for each in outcomes
    ]
    return {"hostfile": str(hostfile), "nodes": nodes, "hostfile_lines": hostfile_lines(outcomes)}


def setup_page(outcomes: Sequence[Outcome]) -> str:
    """Return what came of it on each node, and the lines to put into the hostfile."""
    rows = [
        [each.node.host, each.done if each.error is None else "FAIL", duration(each.seconds), each.python or "–"]
        for each in outcomes
    ]
    parts = [table(["NODE", "ENGINE", "TOOK", "PYTHON"], rows, right=(2,))]
    failed = [each for each in outcomes if each.error is not None]
    if failed:
        parts.append(
            "\n".join(
                f"FAIL  {each.node.host}: {visible(each.error.message)}"
                + (f"\n      {visible(each.error.hint)}" if each.error.hint else "")
                for each in failed
                if each.error is not None
            )
        )
    lines = hostfile_lines([each for each in outcomes if each.python != each.node.python])
    if lines:
        parts.append("In the hostfile:\n" + "\n".join(lines))
    return "\n\n".join(parts)
