"""Facts of nodes become findings: what fails, what warns, whom a sentence names, and what is not judged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.cluster.hostfile import Node
from engine.cluster.preflight import ASPECTS, Facts, Here, Severity, examine, first_objection, states
from engine.errors import Unreachable

GB = 10**9
HERE = Here("0.2.0", "source", "hosts")
GPU = {
    "index": 0,
    "name": "NVIDIA H100",
    "uuid": "GPU-0",
    "utilization_percent": 0,
    "memory_used_bytes": 0,
    "memory_total_bytes": 80 * GB,
    "ecc_uncorrected": 0,
    "processes": [],
}
PROBE: dict[str, Any] = {
    "cores": 64,
    "python": {"path": "/opt/venv/bin/python", "version": "3.11.9", "problem": None},
    "versions": {"plumbline": "0.2.0", "torch": "2.13.0+cu130", "deepspeed": "0.19.8"},
    "code": "source",
    "torch_cuda": "13.0",
    "gpus": [{**GPU, "index": index} for index in range(8)],
    "driver": "580.65.06",
    "gpu_problem": None,
    "workdir": {"path": "/data", "problem": None, "free": 900 * GB, "total": 1000 * GB, "inodes_free": 10**8},
    "shm": {"free": 60 * GB, "total": 64 * GB, "leftovers": 0, "leftover_bytes": 0},
    "stale_locks": [],
    "open_files": 65536,
    "interface": True,
}
Change = Callable[[dict[str, Any]], None]


def healthy(index: int, change: Change = lambda probe: None) -> Facts:
    probe = copy.deepcopy(PROBE)
    change(probe)
    node = Node(f"node-{index}", 8, workdir="/data", python="/opt/venv/bin/python", interface="ib0")
    return Facts(node, probe, skew=0.01, uncertainty=0.002, sessions=3)


def nodes(change: Change, of: int = 4) -> list[Facts]:
    """Return healthy nodes, and `node-2` with one thing changed."""
    return [healthy(index, change if index == 2 else lambda probe: None) for index in range(1, of + 1)]


def test_healthy_nodes_have_no_findings_and_every_aspect_that_was_looked_at_is_ok() -> None:
    facts = nodes(lambda probe: None)
    assert examine(facts, HERE) == []
    assert first_objection(facts, HERE) is None
    found = states(facts[0], [])
    unasked = {"shared", "network", "data"}
    assert found == {aspect: None if aspect in unasked else Severity.OK for aspect in ASPECTS}


def put(*path: Any, value: Any) -> Change:
    def change(probe: dict[str, Any]) -> None:
        place: Any = probe
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def process(memory: int, *, ours: bool) -> dict[str, Any]:
    return {"pid": 4711, "command": "python", "user": "ono", "memory_bytes": memory, "ours": ours}


def used(memory: int, *processes: dict[str, Any]) -> Change:
    return put("gpus", 3, value={**GPU, "index": 3, "memory_used_bytes": memory, "processes": list(processes)})


FAIL, WARN = Severity.FAIL, Severity.WARN


@pytest.mark.parametrize(
    ("change", "aspect", "severity", "words"),
    [
        (
            put("versions", "plumbline", value="0.1.9"),
            "engine",
            FAIL,
            "an old engine, plumbline 0.1.9; this machine has",
        ),
        (put("versions", "plumbline", value="0.10.0"), "engine", FAIL, "another engine, plumbline 0.10.0"),
        (put("versions", "plumbline", value=None), "engine", FAIL, "has no plumbline"),
        (put("code", value="edited"), "engine", WARN, "other source"),
        (put("versions", "torch", value="2.12.0+cu130"), "packages", FAIL, "torch 2.12.0+cu130, most of the others"),
        (put("versions", "deepspeed", value=None), "packages", FAIL, "has no deepspeed"),
        (put("python", "problem", value="/x cannot be run"), "python", FAIL, "/x cannot be run."),
        (put("python", "version", value="3.10.1"), "python", FAIL, "3.11 or newer"),
        (put("python", "version", value="3.12.1"), "python", WARN, "most of the others 3.11"),
        (put("gpus", value=[GPU] * 7), "gpus", FAIL, "7 GPUs, but 8 slots"),
        (put("gpus", value=[]), "gpus", FAIL, "has no GPU, but node-1 has"),
        (put("gpu_problem", value="nvidia-smi fails: no driver"), "gpus", FAIL, "no driver"),
        (put("torch_cuda", value=None), "gpus", FAIL, "without CUDA"),
        (put("driver", value="570.10"), "gpus", FAIL, "needs 580.65.6 or newer"),
        (put("gpus", 5, "ecc_uncorrected", value=3), "gpus", WARN, "GPU 5 has had 3 memory errors"),
        (
            used(9 * GB, process(9 * GB, ours=False)),
            "gpus",
            FAIL,
            "GPU 3 has 9.0 GB of 80.0 GB in use by processes of ono",
        ),
        (used(2 * GB, process(2 * GB, ours=False)), "gpus", WARN, "in use by processes of ono"),
        (used(9 * GB), "gpus", FAIL, "that this machine does not show"),
        (put("shm", "total", value=64 << 20), "memory", WARN, "/dev/shm has 0.1 GB for 8 ranks"),
        (put("shm", value={"total": 64 * GB, "leftovers": 2, "leftover_bytes": GB}), "memory", WARN, "2 files of runs"),
        (put("stale_locks", value=["/x/lock"]), "limits", WARN, "/x/lock was left"),
        (put("open_files", value=1024), "limits", WARN, "1024 files"),
        (put("open_files", value=256), "limits", FAIL, "256 files"),
        (put("interface", value=False), "network", FAIL, "no network interface ib0"),
        (put("workdir", "problem", value="/data cannot be written to: No space left"), "disk", FAIL, "No space left."),
        (put("workdir", "free", value=GB // 2), "disk", FAIL, "0.5 GB left of 1000.0 GB"),
        (put("workdir", "free", value=5 * GB), "disk", WARN, "5.0 GB left"),
        (put("workdir", "inodes_free", value=12), "disk", FAIL, "12 more files"),
    ],
)
def test_one_thing_that_is_wrong_is_one_finding_of_its_aspect_on_its_node(
    change: Change, aspect: str, severity: Severity, words: str
) -> None:
    facts = nodes(change)
    [finding] = examine(facts, HERE)
    assert (finding.host, finding.aspect, finding.severity) == ("node-2", aspect, severity)
    assert words in finding.message and finding.message.endswith(".")
    assert states(facts[1], [finding])[aspect] is severity
    assert (first_objection(facts, HERE) == finding) is (severity is FAIL)


def test_gpus_that_our_own_ranks_use_are_no_finding() -> None:
    assert examine(nodes(used(70 * GB, process(70 * GB, ours=True))), HERE) == []


def test_a_driver_that_serves_the_torch_there_is_good_enough() -> None:
    def older(probe: dict[str, Any]) -> None:
        probe["torch_cuda"], probe["driver"] = "12.8", "525.60.13"

    assert examine(nodes(older), HERE) == []


def test_nodes_without_gpus_are_judged_by_their_cores() -> None:
    def plain(probe: dict[str, Any]) -> None:
        probe["gpus"], probe["driver"], probe["torch_cuda"], probe["cores"] = [], None, None, 4

    [finding] = examine([healthy(1, plain)], HERE)
    assert (finding.severity, finding.message) == (WARN, "has 4 cores for 8 slots, and no GPU.")


@pytest.mark.parametrize(
    ("skew", "uncertainty", "severity"),
    [(1.9, 0.0, None), (-2.5, 0.01, WARN), (2.5, 0.6, None), (31.0, 0.5, FAIL), (-3600.0, 0.1, FAIL)],
)
def test_clocks_are_judged_by_what_is_sure(skew: float, uncertainty: float, severity: Severity | None) -> None:
    facts = [replace(healthy(1), skew=skew, uncertainty=uncertainty)]
    assert [finding.severity for finding in examine(facts, HERE)] == ([] if severity is None else [severity])


def test_a_node_that_cannot_be_reached_is_one_finding_and_nothing_else_is_said_of_it() -> None:
    error = Unreachable("10.0.0.2:22 refuses the connection.", hint="Does sshd run there?", where="node-2")
    facts = [healthy(1), Facts(healthy(2).node, error=error)]
    [finding] = examine(facts, HERE)
    assert str(finding) == "node-2: 10.0.0.2:22 refuses the connection. Does sshd run there?"
    assert [aspect for aspect, state in states(facts[1], [finding]).items() if state] == ["connection"]


def test_failures_come_first_and_then_the_order_of_the_nodes() -> None:
    facts = [
        healthy(1, put("open_files", value=1024)),
        healthy(2, put("interface", value=False)),
        healthy(3, put("versions", "plumbline", value="0.1.0")),
    ]
    found = [(finding.host, finding.severity) for finding in examine(facts, HERE)]
    assert found == [("node-2", FAIL), ("node-3", FAIL), ("node-1", WARN)]


def meeting(missed: dict[int, list[int]], of: int = 4) -> list[Facts]:
    """Return nodes that tried all others. missed: whom each, by number, did not reach."""
    return [
        replace(
            healthy(one),
            asked=[f"node-{other}" for other in range(1, of + 1) if other != one],
            missed={f"node-{other}": "nothing came back" for other in missed.get(one, [])},
        )
        for one in range(1, of + 1)
    ]


def test_ports_between_nodes_are_said_of_the_node_that_is_shut_and_not_of_all_others() -> None:
    assert examine(meeting({}), HERE) == []
    [shut] = examine(meeting({1: [3], 2: [3], 4: [3]}), HERE)
    assert (shut.host, shut.aspect, shut.severity) == ("node-3", "network", FAIL)
    assert shut.message == "no other node can connect to it: nothing came back."
    [mute] = examine(meeting({2: [1, 3, 4]}), HERE)
    assert (mute.host, mute.message) == ("node-2", "cannot connect to any other node: nothing came back.")
    [single] = examine(meeting({4: [1]}), HERE)
    assert (single.host, single.message) == ("node-4", "cannot connect to node-1: nothing came back.")


def test_a_work_directory_that_is_not_the_shared_one_fails() -> None:
    facts = [replace(healthy(1), sees_token=True), replace(healthy(2), sees_token=False)]
    [finding] = examine(facts, HERE)
    assert (finding.host, finding.aspect, finding.severity) == ("node-2", "shared", FAIL)


def holding(*digests: str | None) -> list[Facts]:
    return [replace(healthy(index), hashes={"/train": digest}) for index, digest in enumerate(digests, 1)]


def test_inputs_that_this_machine_lacks_must_be_the_same_on_all_nodes() -> None:
    assert examine(holding("a", "a", "a"), HERE) == []
    assert [str(one) for one in examine(holding("a", "b", None), HERE)] == [
        "node-2: has another /train than most of the others. Copy one of them to all nodes.",
        "node-3: has no /train, and neither has this machine. Put it there.",
    ]


def test_inputs_that_this_machine_has_must_be_the_same_where_they_are_and_are_sent_where_they_are_not() -> None:
    here = replace(HERE, hashes={"/train": "a"})
    [finding] = examine(holding("a", "b", None), here)
    assert (finding.host, finding.severity) == ("node-2", FAIL)
