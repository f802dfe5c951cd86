"""What Slurm's commands say of jobs, as plain values. Pure.

States and reasons are Slurm's own words (squeue(1), section JOB STATE CODES); times are seconds since the epoch, for
the commands are run with SLURM_TIME_FORMAT=%s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SQUEUE_FORMAT = "%i|%T|%S|%N|%r"  # the reason last: it may hold a bar
SACCT_FORMAT = "JobID,State,NodeList,Reason"

WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})
STOPPED_BY_SLURM = frozenset({"TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "LAUNCH_FAILED", "DEADLINE"})
# COMPLETED, FAILED, CANCELLED, OUT_OF_MEMORY and whatever a later Slurm may add: the job is over.


@dataclass(frozen=True)
class Job:
    """A job as Slurm knows it."""

    job: str
    state: str
    reason: str = ""
    start: float | None = None  # when it began, or is expected to
    nodes: str = ""  # Slurm's short form: gpu[01-04]

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in WAITING

    @property
    def over(self) -> bool:
        """Whether nothing of it runs any more, as far as Slurm knows."""
        return not self.waits and self.state not in RUNNING

    def document(self) -> dict[str, Any]:
        """Return it as it is sent to the dispatcher."""
        return {
            "job": self.job,
            "state": self.state,
            "reason": self.reason,
            "start": self.start,
            "nodes": self.nodes,
        }


def parse_squeue(text: str) -> dict[str, Job]:
    """Return the jobs that `squeue --noheader --format=SQUEUE_FORMAT` lists, by id; what is no row is passed over."""
    found = {}
    for line in text.splitlines():
        row = line.split("|", 4)
        if len(row) == 5 and row[0].strip():
            job, state, start, nodes, reason = (word.strip() for word in row)
            found[job] = Job(job, state, "" if reason == "None" else reason, _time(start), nodes)
    return found


def parse_sacct(text: str) -> dict[str, Job]:
    """Return the jobs that `sacct --noheader --parsable2 --allocations --format=SACCT_FORMAT` lists, by id."""
    found = {}
    for line in text.splitlines():
        row = line.split("|", 3)
        if len(row) == 4 and row[0].strip():
            job, state, nodes, reason = (word.strip() for word in row)
            # "CANCELLED by 1000" tells who
            word, _, by = state.partition(" by ")
            reason = f"by user {by}" if by else reason
            found[job] = Job(job, word, "" if reason == "None" else reason, None, _nodes(nodes))
    return found


def _time(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # N/A
        return None


def _nodes(text: str) -> str:
    return "" if text == "None assigned" else text
