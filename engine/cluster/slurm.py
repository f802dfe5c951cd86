"""Slurm in place of SSH to each node: the batch script of an attempt, and what Slurm says in sentences. Pure.

The commands themselves are run on the login node (`engine.cluster.node.slurm`).
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.cluster.hostfile import Slurm
from engine.cluster.node.slurm_words import RUNNING, STOPPED_BY_SLURM, WAITING

# What differs among the nodes of an attempt; each node's task works it out (`engine.cluster.node.slurm_task`).
_OF_A_NODE = ("node", "world_size", "ranks", "slot_numbers", "master_address", "master_port")
_OF_LEASES = ("leases", "share", "holder")  # Slurm gives out the slots

LONGEST_NOTICE_SECONDS, SHORTEST_NOTICE_SECONDS = 300, 30  # before the time limit, for the last checkpoint

FARTHEST_START_SECONDS = 30 * 86400  # beyond that it is no estimate: Slurm takes jobs without a limit for a year long

_SCRIPT = """\
#!/bin/bash
# Attempt {attempt} of {about}, as Plumbline submits it in the run directory: sbatch attempt-{attempt}/batch.sh
{options}

if ! [ -e attempt-{attempt}/job.json ]; then
    echo "error: $(hostname) does not see $SLURM_SUBMIT_DIR/attempt-{attempt}: the work directory must be shared" >&2
    exit 1
fi
# An attempt runs once, however often it was submitted.
(set -o noclobber; echo "$SLURM_JOB_ID" >attempt-{attempt}/slurm-job) 2>/dev/null ||
    [ "$(cat attempt-{attempt}/slurm-job)" = "$SLURM_JOB_ID" ] || exit 75

# Slurm tells of a time limit or a preemption beforehand: the ranks stop at a checkpoint.
stop_at_a_checkpoint() {{
    [ -e attempt-{attempt}/wish.json ] && return
    echo '{{"signal": "USR1", "by": "slurm"}}' >attempt-{attempt}/.wish.slurm
    mv attempt-{attempt}/.wish.slurm attempt-{attempt}/wish.json
}}
trap stop_at_a_checkpoint USR1

PLUMBLINE_NODES=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | tr '\\n' ' ')
export PLUMBLINE_NODES
# The agent shares the node out among its ranks itself; a node that ends badly ends the others.
srun --nodes={nodes} --ntasks-per-node=1 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task="$SLURM_CPUS_PER_TASK"}} \\
    --cpu-bind=none --mpi=none --input=none --export=ALL --wait=0 --kill-on-bad-exit=1 \\
    bash -c '{visible}' "$PWD" \
    {python} -I -S attempt-{attempt}/node-0/agent.pyz --slurm "$PWD/attempt-{attempt}" &
while
    wait "$!"
    code=$?
    [ "$code" -gt 128 ] && kill -0 "$!" 2>/dev/null # a signal came, and the job goes on
do :; done
exit "$code"
"""
# Run by bash on each node with the run directory as $0 and the agent's command as the rest.
_VISIBLE = """\
cd "$0" 2>/dev/null && exec "$@"
    echo "error: $SLURMD_NODENAME does not see $0: the work directory must be shared" >&2
    sleep 1 # srun hears of the end before the words, and ends all
    exit 1\
"""


def job_name(run_dir: str, attempt: int) -> str:
    """Return the name of an attempt's job: no other attempt has it, for run directories differ."""
    return f"{run_dir.rstrip('/').rpartition('/')[2]}.{attempt}"


def template(slurm: Slurm, document: Mapping[str, Any], slots: int) -> dict[str, Any]:
    """Return what the jobs of all nodes have in common, from that of any one (`engine.dispatch.job`)."""
    common = {key: value for key, value in document.items() if key not in (*_OF_A_NODE, *_OF_LEASES)}
    return {**common, "interface": slurm.interface, "slots": slots}


def batch_script(
    slurm: Slurm, python: str, *, name: str, about: str, attempt: int, nodes: int, slots: int, threads: int | None
) -> str:
    """Return the script that sbatch is given, in the run directory.

    Args:
        slurm: settings of the hostfile.
        python: of the nodes; `~/` is the home folder.
        name: of the job.
        about: the experiment, for who reads the script.
        attempt: its number.
        nodes: how many nodes.
        slots: ranks on each.
        threads: of each rank; null: not said.
    """
    options = [
        f"#SBATCH {_quoted(option)}"
        for option in _options(slurm, name, attempt, nodes=nodes, slots=slots, threads=threads)
    ]
    program = '"$HOME"' + shlex.quote(python[1:]) if python.startswith("~/") else shlex.quote(python)
    return _SCRIPT.format(
        attempt=attempt,
        about=about,
        options="\n".join(options),
        nodes=nodes,
        visible=_VISIBLE,
        python=program,
    )


def _options(slurm: Slurm, name: str, attempt: int, *, nodes: int, slots: int, threads: int | None) -> Iterator[str]:
    yield f"--job-name={name}"
    yield f"--nodes={nodes}"
    yield "--ntasks-per-node=1"
    cpus = slurm.cpus or threads or (None if slurm.gres else 1)
    if cpus is not None:
        yield f"--cpus-per-task={slots * cpus}"
    if slurm.gres is not None:
        yield f"--gres={slurm.gres}:{slots}"
    for key in ("partition", "account", "qos", "time"):
        value = getattr(slurm, key)
        if value is not None:
            yield f"--{key}={value}"
    yield f"--signal=B:USR1@{_notice_seconds(slurm.time)}"
    yield "--no-requeue"  # a new start is a new attempt
    yield f"--output=attempt-{attempt}/node-0/slurm.log"
    yield "--open-mode=append"
    yield from slurm.options


def _quoted(option: str) -> str:
    """Return an option as an #SBATCH line has it: the value in double quotes unless it is plain."""
    if shlex.quote(option) == option:
        return option
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _notice_seconds(limit: str | None) -> int:
    """Return how long before the time limit the ranks are asked to stop: a tenth of it, within bounds."""
    if limit is None:
        return LONGEST_NOTICE_SECONDS
    return max(SHORTEST_NOTICE_SECONDS, min(LONGEST_NOTICE_SECONDS, limit_seconds(limit) // 10))


def limit_seconds(limit: str) -> int:
    """Return a time limit in seconds: "minutes", "minutes:seconds", "H:M:S", "D-H", "D-H:M" or "D-H:M:S"."""
    days, dash, rest = limit.rpartition("-")
    numbers = [int(number) for number in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
        return ((int(days) * 24 + hours) * 60 + minutes) * 60 + seconds
    if len(numbers) == 3:
        return (numbers[0] * 60 + numbers[1]) * 60 + numbers[2]
    return numbers[0] * 60 + (numbers[1] if len(numbers) == 2 else 0)


_REASONS = {
    "Resources": "free nodes",
    "Priority": "jobs of higher priority",
    "Dependency": "another job",
    "DependencyNeverSatisfied": "another job that will never end as it should",
    "BeginTime": "its time to begin",
    "JobHeldUser": "its owner, who holds it",
    "JobHeldAdmin": "an administrator, who holds it",
    "Reservation": "its reservation",
    "Licenses": "licences",
    "ReqNodeNotAvail": "nodes that are down or reserved",
    "PartitionDown": "its partition, which is down",
    "PartitionInactive": "its partition, which is inactive",
    "PartitionNodeLimit": "more nodes than its partition gives",
    "PartitionTimeLimit": "more time than its partition gives",
    "PartitionConfig": "more than its partition has",
    "BadConstraints": "what no node has",
}


def waiting(job: Mapping[str, Any], now: float) -> str:
    """Return in a sentence what a job (`slurm_words.Job.document`) waits for. now: seconds since the epoch."""
    told = f"Slurm's job {job['job']}"
    if job["state"] != "PENDING":
        return f"{told} is about to start{_on(job)}."
    reason = str(job["reason"])
    # Slurm adds to some reasons: "ReqNodeNotAvail, UnavailableNodes:gpu[01-02]"
    word = reason.partition(",")[0].strip("()")
    if not word:
        told += " waits"
    elif word in _REASONS:
        told += f" waits for {_REASONS[word]} ({reason})"
    else:
        told += f" waits: {reason}"
    if job["start"] and job["start"] < now + FARTHEST_START_SECONDS:
        told += f"; start expected {time.strftime('%Y-%m-%d %H:%M', time.localtime(job['start']))}"
    return told + "."


@dataclass(frozen=True, slots=True)
class Ending:
    """How Slurm ended a job."""

    told: str
    fault: bool  # of the cluster, not of the run: another try is right
    wanted: bool = False  # a person cancelled it


_ENDINGS = {
    "TIMEOUT": "its time limit was reached",
    "DEADLINE": "its deadline was reached",
    "NODE_FAIL": "a node failed",
    "BOOT_FAIL": "a node did not boot",
    "LAUNCH_FAILED": "it could not be started on its nodes",
    "PREEMPTED": "another job took its nodes",
    "OUT_OF_MEMORY": "it used more memory than it had asked for",
    "CANCELLED": "it was cancelled",
    "FORGOTTEN": "Slurm no longer knows it",
}


def ending(job: Mapping[str, Any]) -> Ending | None:
    """Return how a job ended, in a sentence; None if Slurm took no part in it."""
    state, told = str(job["state"]), f"Slurm's job {job['job']}{_on(job)}"
    if job.get("asked_by") == "slurm":
        return Ending(f"{told} was asked to stop: its time limit came near, or another job needs its nodes.", True)
    if state in _ENDINGS:
        by = f" {job['reason']}" if state == "CANCELLED" and str(job["reason"]).startswith("by ") else ""
        fault = state in STOPPED_BY_SLURM and state != "DEADLINE"
        return Ending(f"{told} ended as {state}: {_ENDINGS[state]}{by}.", fault, state == "CANCELLED")
    if job.get("gone") and state in ("COMPLETED", "FAILED"):
        words = job["last_words"] or "do all its nodes see the work directory?"
        if "couldn't chdir" in words:
            words += "; the work directory must be shared"
        reason = f" ({job['reason']})" if job["reason"] else ""
        return Ending(f"{told} left no record{reason}: {words}", bool(job["began"]))
    if state in RUNNING or state in WAITING or state in ("COMPLETED", "FAILED"):
        return None
    return Ending(f"{told} ended as {state}.", False)


def _on(job: Mapping[str, Any]) -> str:
    return f" on {job['nodes']}" if job["nodes"] else ""
