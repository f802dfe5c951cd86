"""A real Slurm cluster of four nodes: what is submitted runs once, ends as it should, and its end is understood."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.cluster import pushed
from engine.cluster.hostfile import Slurm, load_hostfile
from engine.cluster.node import slurm as node
from engine.cluster.node.archive import write_archive
from engine.cluster.node.processes import process_start
from engine.cluster.slurm import batch_script, ending, job_name, waiting
from engine.cluster.slurm_testbed import INSTALL_SLURM, SlurmTestbed

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd takes on the users of its jobs, so it needs root"),
    pytest.mark.skipif(shutil.which("sbatch") is None, reason=f"no Slurm here: {INSTALL_SLURM}"),
]

NODES, SLOTS = 4, 2
STAYS = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    folder = tmp_path_factory.mktemp("cluster")
    with SlurmTestbed.start(folder / "slurm", nodes=NODES, slots=SLOTS, workdir=folder / "work") as started:
        yield started


class Attempt:
    """The first attempt of a run, as a companion on the login node sees it."""

    def __init__(self, bed: SlurmTestbed, name: str, script: str, *, nodes: int = 2, **settings: Any) -> None:
        self.bed, self.nodes = bed, nodes
        hostfile = load_hostfile(bed.hostfile)
        assert hostfile.slurm is not None
        self.run_dir = Path(str(hostfile.nodes[0].workdir)) / f"{name} of mine"
        self.folder = self.run_dir / "attempt-1"
        (self.folder / "node-0").mkdir(parents=True)
        write_archive(self.folder / "node-0" / "agent.pyz", pushed.sources())
        self.job = {
            "nodes": nodes,
            "slots": SLOTS,
            "threads": None,
            "interface": "lo",
            "argv": ["-I", "-S", "-c", script, "{run_dir}"],
            "env": {},
        }
        self.name = job_name(str(self.run_dir), 1).replace(" ", "-")
        self.slurm: Slurm = replace(hostfile.slurm, **settings)
        self.watch = node.Watch()

    def submit(self) -> dict[str, Any]:
        script = batch_script(
            self.slurm,
            sys.executable,
            name=self.name,
            about="a test",
            attempt=1,
            nodes=self.nodes,
            slots=SLOTS,
            threads=None,
        )
        return dict(
            node.submit(
                lambda *_: None,
                run_dir=str(self.run_dir),
                attempt=1,
                name=self.name,
                script=script,
                job=self.job,
                python=sys.executable,
                commands=self.slurm.commands,
            )
        )

    def stop(self, name: str) -> None:
        assert node.stop(lambda *_: None, run_dir=str(self.run_dir), attempt=1, name=name) == {}

    def where(self, index: int) -> tuple[str, Any, Any]:
        return self.watch.where(self.folder / f"node-{index}")

    def until_alive(self) -> None:
        until(lambda: all(self.where(index)[0] == "alive" for index in range(self.nodes)))
        until(lambda: all(self.log(rank) for rank in range(self.nodes * SLOTS)))

    def ended(self, index: int, seconds: float = 60) -> tuple[str, Any, Any]:
        until(lambda: self.where(index)[0] in ("exited", "gone"), seconds)
        return self.where(index)

    def log(self, rank: int) -> str:
        file = self.folder / f"node-{rank // SLOTS}" / f"rank-{rank}.log"
        return file.read_text() if file.exists() else ""

    def pids(self) -> list[int]:
        return [int(word) for rank in range(self.nodes * SLOTS) for word in self.log(rank).split()]

    def until_nothing_runs(self) -> None:
        until(lambda: not any(process_start(pid) for pid in self.pids()))
        listed = ["squeue", "--noheader", f"--name={self.name}"]
        until(lambda: self.bed.run(*listed) == "")


def jobs_of(bed: SlurmTestbed, name: str) -> list[str]:
    return bed.run("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%i").split()


def test_every_node_runs_its_ranks_in_deepspeeds_environment_in_one_directory(bed: SlurmTestbed) -> None:
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_SIZE CROSS_RANK CROSS_SIZE MASTER_ADDR MASTER_PORT"
    script = f"import os, sys; print(*(os.environ[n] for n in {names.split()})); print(os.getcwd()); print(sys.argv[1])"
    attempt = Attempt(bed, "whole", script, nodes=3)
    assert attempt.submit() == attempt.submit()
    for index in range(3):
        phase, record, job = attempt.ended(index)
        assert (phase, record["why"], job["node"]) == ("exited", "ok", f"alpha{index + 1}")
    lines = [attempt.log(rank).splitlines() for rank in range(6)]
    port = lines[0][0].split()[-1]
    for rank, (said, folder, argument) in enumerate(lines):
        assert said.split() == [*map(str, (rank, rank % 2, 6, 2, rank // 2, 3)), "127.0.0.1", port]
        assert folder == argument == str(attempt.run_dir)
    until(lambda: "COMPLETED" in bed.run("squeue", "--noheader", "--states=all", f"--name={attempt.name}", "-o%T"))
    assert len(jobs_of(bed, attempt.name)) == 1


def test_a_submission_that_was_not_remembered_is_found_again(bed: SlurmTestbed) -> None:
    attempt = Attempt(bed, "forgotten", STAYS, nodes=1)
    first = attempt.submit()
    record = attempt.folder / node.RECORD
    for begun in (False, True):
        if begun:
            attempt.until_alive()
        record.write_text(json.dumps({**json.loads(record.read_text()), "job": None}))
        assert attempt.submit() == first
    assert jobs_of(bed, attempt.name) == [first["job"]]
    # A second job, by other hands, does not run the ranks a second time.
    folder = f"--chdir={attempt.run_dir}"
    again = bed.run("sbatch", "--parsable", folder, str(attempt.folder / "batch.sh")).strip()
    until(lambda: "ExitCode=75:0" in bed.run("scontrol", "show", "job", again))
    assert attempt.where(0)[0] == "alive" and len(attempt.log(0).split()) == 1
    attempt.stop("TERM")
    attempt.until_nothing_runs()


def test_a_wish_to_stop_reaches_the_ranks_alone_and_they_stop_at_a_checkpoint(bed: SlurmTestbed) -> None:
    helper = "import time; time.sleep(600)"  # of a rank, as a data loader's: a signal to all would end it
    script = (
        "import signal, subprocess, sys, time\n"
        f"helper = subprocess.Popen([sys.executable, '-I', '-S', '-c', {helper!r}])\n"
        "def stop(*_):\n"
        "    sys.exit(130 if helper.poll() is None else 1)\n"
        "signal.signal(signal.SIGUSR1, stop)\n"
        "print(helper.pid, flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    attempt = Attempt(bed, "wish", script)
    attempt.submit()
    attempt.until_alive()
    attempt.stop("USR1")
    for index in (0, 1):
        phase, record, job = attempt.ended(index)
        assert (phase, record["why"], ending(job)) == ("exited", "interrupted", None)
    attempt.until_nothing_runs()


def test_a_cancelled_job_is_stopped_not_failed_and_leaves_nothing(bed: SlurmTestbed) -> None:
    script = (
        "import os, subprocess, sys, time\n"
        "apart = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(os.getpid(), apart.pid, flush=True)\n"
        "time.sleep(600)"
    )
    attempt = Attempt(bed, "cancelled", script)
    attempt.submit()
    attempt.until_alive()
    attempt.stop("TERM")
    for index in (0, 1):
        phase, record, job = attempt.ended(index)
        told = ending(job)
        assert (phase, record["why"], record["first"]) == ("exited", "stopped", None)
        assert told is not None and told.wanted and not told.fault
    attempt.until_nothing_runs()


def test_a_failing_rank_ends_the_other_nodes_without_a_dispatcher(bed: SlurmTestbed) -> None:
    script = (
        "import os, sys, time\n"
        "print(os.getpid(), flush=True)\n"
        "if os.environ['RANK'] == '2': time.sleep(1); print('error: no memory'); sys.exit(3)\n"
        "time.sleep(600)"
    )
    attempt = Attempt(bed, "failing", script)
    attempt.submit()
    phase, record, job = attempt.ended(1)
    assert (phase, record["why"], record["first"]["rank"], record["first"]["code"]) == ("exited", "rank_failed", 2, 3)
    assert "no memory" in record["first"]["tail"] and ending(job) is None
    assert attempt.ended(0)[0] == "exited"
    assert "FAILED" in bed.run("squeue", "--noheader", "--states=all", f"--name={attempt.name}", "-o%T")


def test_when_an_agent_is_killed_its_ranks_and_the_other_nodes_end(bed: SlurmTestbed) -> None:
    attempt = Attempt(bed, "killed", STAYS)
    attempt.submit()
    attempt.until_alive()
    os.kill(json.loads((attempt.folder / "node-1" / "agent.json").read_text())["pid"], signal.SIGKILL)
    phase, record, _ = attempt.ended(1)
    # Its undertaker leaves a record, unless Slurm was quicker to end it.
    assert phase == "gone" or record["why"] == "agent_killed"
    attempt.until_nothing_runs()


def test_a_node_that_dies_is_the_clusters_fault(bed: SlurmTestbed) -> None:
    attempt = Attempt(bed, "power-cut", STAYS)
    attempt.submit()
    attempt.until_alive()
    bed.stop_node("alpha2")
    try:
        phase, _, job = attempt.ended(1, 120)
        told = ending(job)
        assert phase == "gone" and told is not None and told.fault
        assert "NODE_FAIL: a node failed" in told.told
        attempt.until_nothing_runs()
    finally:
        bed.start_node("alpha2")


def test_one_that_waits_says_for_what_and_leaves_the_queue_when_it_shall_stop(bed: SlurmTestbed) -> None:
    holder, waiter = Attempt(bed, "holder", STAYS, nodes=4), Attempt(bed, "waiter", STAYS, nodes=1)
    holder.submit()
    holder.until_alive()
    waiter.submit()
    until(lambda: waiter.where(0)[0] == "pending" and "Resources" in waiting(waiter.where(0)[2], time.time()))
    assert "waits for free nodes (Resources)" in waiting(waiter.where(0)[2], time.time())
    waiter.stop("USR1")
    phase, record, job = waiter.ended(0)
    told = ending(job)
    assert (phase, record) == ("gone", None) and told is not None and told.wanted
    holder.stop("TERM")
    holder.until_nothing_runs()


def test_what_slurm_refuses_is_said_in_its_words(bed: SlurmTestbed) -> None:
    for name, settings, says in [
        ("no-partition", {"partition": "nope"}, "invalid partition"),
        ("too-many", {"nodes": 9}, "Requested node configuration is not available"),
    ]:
        answer = Attempt(bed, name, STAYS, **settings).submit()
        assert answer["refused"] and says in answer["problem"]
        assert jobs_of(bed, name) == []


def test_a_node_that_does_not_share_the_work_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    with SlurmTestbed.start(
        tmp_path / "slurm", nodes=2, slots=SLOTS, workdir=tmp_path / "work", blind=["alpha2"]
    ) as bed:
        attempt = Attempt(bed, "blind", STAYS)
        attempt.submit()
        told = ending(attempt.ended(1)[2])
    assert told is not None and not told.fault
    # In our words or in Slurm's, whichever came through.
    for word in ("alpha2", str(attempt.run_dir), "the work directory must be shared"):
        assert word in told.told


def test_jobs_go_on_while_the_controller_is_away(bed: SlurmTestbed) -> None:
    attempt, late = Attempt(bed, "on", STAYS), Attempt(bed, "late", STAYS, nodes=1)
    attempt.submit()
    attempt.until_alive()
    bed.stop_controller()
    try:
        answer = late.submit()
        assert not answer["refused"] and "does not answer" in answer["problem"]
        fresh = node.Watch()
        until(lambda: fresh.where(attempt.folder / "node-0")[0] == "alive")
        assert attempt.where(0)[0] == "alive"
    finally:
        bed.start_controller()
    until(lambda: "job" in late.submit())
    for each in (attempt, late):
        each.until_alive()
        each.stop("TERM")
        each.until_nothing_runs()


def test_before_the_time_limit_the_ranks_are_asked_and_after_it_they_are_ended(bed: SlurmTestbed) -> None:
    polite = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(130))\n"
        "print(os.getpid(), flush=True)\n"
        "while True: time.sleep(0.05)"
    )
    deaf = "import os, signal, time; signal.signal(signal.SIGUSR1, signal.SIG_IGN)\n" + STAYS
    heeding, ignoring = Attempt(bed, "heeds", polite, time="1"), Attempt(bed, "ignores", deaf, time="1")
    for each in (heeding, ignoring):
        each.submit()
    phase, record, job = heeding.ended(0, 90)
    told = ending(job)
    assert (phase, record["why"]) == ("exited", "interrupted")
    assert told is not None and told.fault and "time limit came near" in told.told
    phase, record, job = ignoring.ended(0, 180)
    told = ending(job)
    assert (phase, record["why"]) == ("exited", "stopped") and told is not None and told.fault
    ignoring.until_nothing_runs()
