"""The dispatcher with a real Slurm: the same face as over SSH, whether the login node is here or over SSH."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cluster.slurm_testbed import INSTALL_SLURM, SlurmTestbed
from engine.cluster.testbed import Testbed
from engine.errors import ExitCode
from engine.store import attempts, events, experiments
from engine.telemetry.states import Desired, State
from tests.dispatch.conftest import House

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(os.geteuid() != 0, reason="slurmd takes on the users of its jobs, so it needs root"),
    pytest.mark.skipif(shutil.which("sbatch") is None, reason=f"no Slurm here: {INSTALL_SLURM}"),
]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmTestbed]:
    """Three nodes with two slots each; runs ask for two nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    with SlurmTestbed.start(folder / "slurm", nodes=3, slots=2, workdir=folder / "work") as started:
        yield started


@pytest.fixture
def slurm_house(tmp_path: Path, bed: SlurmTestbed, worker_python: Path) -> Iterator[House]:
    settings = bed.hostfile.read_text().splitlines()[0].replace(f"python={sys.executable}", f"python={worker_python}")
    found = House(tmp_path, f"{settings}\nalpha1 slots=2\nalpha2 slots=2\n")
    yield found
    found.close()


def logs_are_here(house: House, identity: str, steps: int) -> bool:
    folder = house.store.runs_dir / identity / "attempt-1"
    logs = [(folder / f"node-{rank // 2}" / f"rank-{rank}.log").read_text() for rank in range(4)]
    return all(f"step {steps} of rank {rank}" in log for rank, log in enumerate(logs))


def test_a_run_ends_well_and_its_logs_are_here(slurm_house: House) -> None:
    identity = slurm_house.launch(steps=80)
    assert slurm_house.succeeded(identity, 80).nodes == 2
    assert logs_are_here(slurm_house, identity, 80)


def test_the_login_node_may_be_reached_over_ssh(slurm_house: House, nodes: Testbed) -> None:
    over_ssh = f"launcher=slurm login=node-1 ssh_config={nodes.ssh_config}"
    identity = slurm_house.launch(steps=80, hostfile=slurm_house.hostfile.replace("launcher=slurm", over_ssh))
    slurm_house.succeeded(identity, 80)
    assert logs_are_here(slurm_house, identity, 80)


def test_killing_the_dispatcher_again_and_again_submits_one_job_and_loses_nothing(
    slurm_house: House, bed: SlurmTestbed
) -> None:
    before = len(bed.run("squeue", "--noheader", "--states=all").splitlines())
    identity = slurm_house.launch(steps=150, note="pause=0.06")
    for step in (0, 1, 40, 80):
        if step == 0:
            time.sleep(0.5)  # about when it is submitted
        else:
            slurm_house.until_step(identity, step)
        slurm_house.kill_dispatcher()
        time.sleep(0.3)
        slurm_house.wake()
    assert slurm_house.succeeded(identity, 150).attempts == 1
    assert len(bed.run("squeue", "--noheader", "--states=all").splitlines()) == before + 1


def test_a_run_that_slurm_lets_wait_says_so_and_both_stop_as_they_should(slurm_house: House) -> None:
    first = slurm_house.launch(steps=100_000)
    slurm_house.until_step(first, 3)
    second = slurm_house.launch(steps=100_000)
    slurm_house.until(lambda: "waits for free nodes (Resources)" in (slurm_house.get(second).reason or ""))
    experiments.set_desired(slurm_house.store, second, Desired.STOP)
    assert slurm_house.ended(second).state is State.STOPPED
    experiments.set_desired(slurm_house.store, first, Desired.STOP)
    found = slurm_house.ended(first)
    assert (found.state, found.reason) == (State.STOPPED, "stopped at a checkpoint.")
    assert events.last_checkpoint(slurm_house.store, first) == found.step


def test_a_stop_at_once_a_scancel_by_hand_and_a_failing_rank_are_told_apart(
    slurm_house: House, bed: SlurmTestbed
) -> None:
    identity = slurm_house.launch(steps=100_000)
    slurm_house.until_step(identity, 3)
    experiments.set_desired(slurm_house.store, identity, Desired.STOP_NOW)
    assert slurm_house.ended(identity).reason == "stopped at once."
    identity = slurm_house.launch(steps=100_000)
    slurm_house.until_step(identity, 3)
    bed.run("scancel", "--user=root")
    found = slurm_house.ended(identity)
    assert found.state is State.STOPPED and "ended as CANCELLED" in str(found.reason)
    found = slurm_house.ended(slurm_house.launch(steps=10_000, note="pause=0.01 fail=20:2"))
    assert found.state is State.FAILED and "error: the worker was told to fail." in str(found.reason)


def test_what_slurm_refuses_is_refused(slurm_house: House) -> None:
    wrong = slurm_house.hostfile.replace("launcher=slurm", "launcher=slurm partition=nope")
    found = slurm_house.ended(slurm_house.launch(hostfile=wrong))
    assert (found.state, found.exit_code) == (State.FAILED, ExitCode.REFUSED)
    assert "invalid partition specified: nope" in str(found.reason)


def test_after_a_node_has_died_another_attempt_goes_on_elsewhere(slurm_house: House, bed: SlurmTestbed) -> None:
    identity = slurm_house.launch(steps=2000, note="pause=0.06", retries=2)
    slurm_house.until_step(identity, 20)
    bed.stop_node("alpha2")
    try:
        slurm_house.until(lambda: slurm_house.get(identity).attempts == 2, 180)
        first = attempts.list_attempts(slurm_house.store, identity)[0]
        assert first.state is State.LOST and "NODE_FAIL: a node failed" in str(first.reason)
        slurm_house.until(lambda: slurm_house.get(identity).state.ended, 120)
        assert slurm_house.get(identity).state is State.SUCCEEDED
    finally:
        bed.start_node("alpha2")
