"""Slurm without Slurm: what is asked of it, what it says, and where a node stands for all that is known."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cluster.hostfile import parse_hostfile
from engine.cluster.node import slurm as node
from engine.cluster.node.slurm_task import node_job
from engine.cluster.node.slurm_words import Job, parse_sacct, parse_squeue
from engine.cluster.slurm import batch_script, ending, job_name, limit_seconds, template, waiting
from engine.errors import InvalidInput

HOSTS = "gpu01 slots=8\ngpu02 slots=8\n"
FULL = (
    "# plumbline: launcher=slurm login=front partition=gpu,big account=lab qos=high time=1-12 gres=gpu:a100 cpus=6\n"
    "# plumbline: 'options=--mem=0 --exclude=\"gpu[03-04]\"' workdir=/shared/runs python='~/my venv/bin/python'\n"
    "# plumbline: commands=/opt/slurm/bin interface=ib0\n"
)


def test_slurms_settings_stand_in_the_hostfile_and_make_the_login_node_the_one_to_talk_to() -> None:
    hostfile = parse_hostfile(FULL + HOSTS, "hosts")
    slurm = hostfile.slurm
    assert slurm is not None
    assert (slurm.login.host, slurm.login.workdir, slurm.login.shared) == ("front", "/shared/runs", True)
    assert (slurm.partition, slurm.account, slurm.qos, slurm.time) == ("gpu,big", "lab", "high", "1-12")
    assert (slurm.gres, slurm.cpus, slurm.commands) == ("gpu:a100", 6, "/opt/slurm/bin")
    assert slurm.options == ("--mem=0", "--exclude=gpu[03-04]")
    assert [(each.host, each.slots, each.shared) for each in hostfile.nodes] == [("gpu01", 8, True), ("gpu02", 8, True)]
    here = parse_hostfile(f"# plumbline: launcher=slurm\n{HOSTS}", "hosts").slurm
    assert here is not None and here.login.is_local
    assert parse_hostfile(HOSTS, "hosts").slurm is None


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("# plumbline: launcher=pbs\n" + HOSTS, ":1", "neither ssh nor slurm"),
        ("# plumbline: partition=gpu\n" + HOSTS, ":1", "Add launcher=slurm"),
        ("# plumbline[gpu01]: launcher=slurm\n" + HOSTS, ":1", "# plumbline: launcher=slurm"),
        ("# plumbline: launcher=slurm\n# plumbline[gpu01]: interface=ib0\n" + HOSTS, ":2", "chooses the nodes"),
        ("# plumbline: launcher=slurm shared=no\n" + HOSTS, ":1", "must share"),
        ("# plumbline: launcher=slurm address=front\n" + HOSTS, ":1", "interface="),
        ("# plumbline: launcher=slurm time=soon\n" + HOSTS, ":1", "H:M:S"),
        ("# plumbline: launcher=slurm cpus=0\n" + HOSTS, ":1", "between 1"),
        ("# plumbline: launcher=slurm partition=-x\n" + HOSTS, ":1", "no name"),
        ('# plumbline: launcher=slurm "options=--comment=\'x"\n' + HOSTS, ":1", "within options"),
        ("# plumbline: launcher=slurm\na slots=8\nb slots=4", ":3", "other slots than a"),
    ],
)
def test_what_slurm_cannot_be_asked_is_named_with_its_line(text: str, line: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_hostfile(text, "hosts")
    assert caught.value.where == f"hosts{line}" and says in str(caught.value)


def script(text: str, **more: Any) -> str:
    hostfile = parse_hostfile(text + HOSTS, "hosts")
    assert hostfile.slurm is not None
    values: dict[str, Any] = {"name": "sft-0012-3fa2c1.2", "about": "sft-0012", "attempt": 2, "nodes": 2, "slots": 8}
    return batch_script(hostfile.slurm, hostfile.nodes[0].python, **{**values, "threads": None, **more})


def test_the_script_asks_for_what_the_hostfile_says_and_bash_can_read_it() -> None:
    text = script(FULL)
    options = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")]
    assert options == [
        "--job-name=sft-0012-3fa2c1.2",
        "--nodes=2",
        "--ntasks-per-node=1",
        "--cpus-per-task=48",
        "--gres=gpu:a100:8",
        "--partition=gpu,big",
        "--account=lab",
        "--qos=high",
        "--time=1-12",
        "--signal=B:USR1@300",
        "--no-requeue",
        "--output=attempt-2/node-0/slurm.log",
        "--open-mode=append",
        "--mem=0",
        '"--exclude=gpu[03-04]"',
    ]
    assert "\"$HOME\"'/my venv/bin/python' -I -S attempt-2/node-0/agent.pyz --slurm" in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=30)


def test_cpus_are_one_a_slot_or_the_threads_of_a_rank_or_left_to_a_site_that_has_gpus() -> None:
    asked = "# plumbline: launcher=slurm"
    assert "--cpus-per-task=8\n" in script(asked + "\n")
    assert "--cpus-per-task=32\n" in script(asked + "\n", threads=4)
    assert "#SBATCH --cpus-per-task" not in script(asked + " gres=gpu\n")


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("90", 5400), ("5:30", 330), ("2:00:00", 7200), ("1-12", 129600), ("1-1:30", 91800), ("0-0:0:40", 40)],
)
def test_time_limits_are_read_as_sbatch_reads_them(limit: str, seconds: int) -> None:
    assert limit_seconds(limit) == seconds


def test_the_notice_before_the_limit_is_a_tenth_within_bounds() -> None:
    for limit, notice in [("1", 30), ("20", 120), ("2-0", 300)]:
        assert f"--signal=B:USR1@{notice}\n" in script(f"# plumbline: launcher=slurm time={limit}\n")


def test_jobs_of_two_attempts_or_two_run_directories_have_two_names() -> None:
    names = [job_name(run_dir, attempt) for run_dir in ("~/p/sft-1-aa", "~/p/sft-1-bb/") for attempt in (1, 2)]
    assert names == ["sft-1-aa.1", "sft-1-aa.2", "sft-1-bb.1", "sft-1-bb.2"]


@given(st.integers(1, 9), st.integers(1, 9))
def test_the_nodes_share_out_all_ranks_in_their_order(nodes: int, slots: int) -> None:
    of_any = {"node": 0, "nodes": nodes, "world_size": 1, "ranks": [], "master_address": "", "master_port": 0}
    of_any |= {"slot_numbers": [3, 4], "leases": True, "share": False, "holder": {}, "interface": None}
    slurm = parse_hostfile(FULL + HOSTS, "hosts").slurm
    assert slurm is not None
    common = template(slurm, of_any | {"env": {}, "threads": None}, slots)
    assert common == {"nodes": nodes, "env": {}, "threads": None, "interface": "ib0", "slots": slots}
    jobs = [node_job(common, index, node="n", address="10.0.0.1", port=7) for index in range(nodes)]
    ranks = [(rank["rank"], rank["local_rank"]) for job in jobs for rank in job["ranks"]]
    assert ranks == [(rank, rank % slots) for rank in range(nodes * slots)]
    assert {job["world_size"] for job in jobs} == {nodes * slots}
    assert [job["node"] for job in jobs] == list(range(nodes))


def test_squeue_and_sacct_are_read() -> None:
    text = (
        "7|PENDING|N/A||PartitionConfig\n"
        "17|RUNNING|1795689496|alpha[1-2]|None\n"
        "18|PENDING|1795689999||ReqNodeNotAvail, UnavailableNodes:a[1|2]\n"
        "slurm_load_jobs error: nonsense\n"
    )
    assert list(parse_squeue(text).values()) == [
        Job("7", "PENDING", "PartitionConfig"),
        Job("17", "RUNNING", "", 1795689496.0, "alpha[1-2]"),
        Job("18", "PENDING", "ReqNodeNotAvail, UnavailableNodes:a[1|2]", 1795689999.0),
    ]
    text = "17|CANCELLED by 1000|alpha[1-2]|None\n18|NODE_FAIL|alpha1|\n19|CANCELLED|None assigned|Dependency\n"
    assert list(parse_sacct(text).values()) == [
        Job("17", "CANCELLED", "by user 1000", None, "alpha[1-2]"),
        Job("18", "NODE_FAIL", "", None, "alpha1"),
        Job("19", "CANCELLED", "Dependency"),
    ]


def test_what_a_job_waits_for_is_a_sentence() -> None:
    told = [
        waiting(Job("7", "PENDING", reason).document(), 0.0)
        for reason in ("Resources", "ReqNodeNotAvail, UnavailableNodes:a1", "AssocGrpGRES", "")
    ]
    assert told == [
        "Slurm's job 7 waits for free nodes (Resources).",
        "Slurm's job 7 waits for nodes that are down or reserved (ReqNodeNotAvail, UnavailableNodes:a1).",
        "Slurm's job 7 waits: AssocGrpGRES.",
        "Slurm's job 7 waits.",
    ]
    late = Job("7", "PENDING", "Priority", 1795689999.0).document()
    assert "; start expected 2026-11-" in waiting(late, 1795680000.0)
    assert "start" not in waiting(late, 1795689999.0 - 365 * 86400)
    begun = Job("7", "RUNNING", "", 1.0, "a[1-2]").document()
    assert waiting(begun, 1.0) == "Slurm's job 7 is about to start on a[1-2]."


@pytest.mark.parametrize(
    ("state", "fault", "wanted"),
    [
        ("TIMEOUT", True, False),
        ("NODE_FAIL", True, False),
        ("PREEMPTED", True, False),
        ("BOOT_FAIL", True, False),
        ("DEADLINE", False, False),
        ("OUT_OF_MEMORY", False, False),
        ("CANCELLED", False, True),
        ("FORGOTTEN", False, False),
        ("WHATEVER_COMES", False, False),
    ],
)
def test_only_what_the_cluster_did_is_tried_again(state: str, fault: bool, wanted: bool) -> None:
    told = ending(Job("7", state, "", None, "a1").document())
    assert told is not None and (told.fault, told.wanted) == (fault, wanted)
    assert told.told.startswith(f"Slurm's job 7 on a1 ended as {state}")


def test_a_job_that_left_no_record_is_told_by_its_log(scene: Scene) -> None:
    for _ in range(5):
        scene.look("FAILED", reason="NonZeroExitCode")
    told = ending(scene.watch.where(scene.folder)[2])
    assert told is not None and not told.fault
    assert told.told == "Slurm's job 17 left no record (NonZeroExitCode): do all its nodes see the work directory?"
    (scene.folder / "slurm.log").write_text("srun: error: a2: Exited\nerror: a2 does not see /w\nsrun: error: more\n")
    scene.write("agent.json", {})  # it began, and was killed: another try may go well
    scene.look("FAILED")
    told = ending(scene.watch.where(scene.folder)[2])
    assert told is not None and told.fault
    assert told.told == "Slurm's job 17 left no record: error: a2 does not see /w"


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "RUNNING", "COMPLETING", "PENDING"])
def test_what_is_the_runs_own_end_or_none_is_not_slurms(state: str) -> None:
    assert ending(Job("7", state).document()) is None


class Told(node.Queue):
    """A queue that says what it is told to."""

    said: Job | None = None

    def job(self, job: str, commands: str | None) -> Job | None:
        return self.said


class Clock:
    """Time that passes when it is told to; the module sees it in place of `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Scene:
    """One node's folder, Slurm's word, and what a watch makes of them."""

    def __init__(self, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = run_dir / "attempt-1" / "node-0"
        self.folder.mkdir(parents=True)
        self.queue, self.clock = Told(), Clock()
        self.watch = node.Watch(self.queue)
        monkeypatch.setattr(node, "time", self.clock)

    def write(self, name: str, document: Any) -> None:
        (self.folder / name).write_text(json.dumps(document))

    def look(self, state: str | None = None, *, after: float = 1.0, reason: str = "") -> tuple[str, Any]:
        self.queue.said = None if state is None else Job("17", state, reason)
        self.clock.now += after
        return self.watch.where(self.folder)[:2]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene(tmp_path, monkeypatch)
    made.write("../slurm.json", {"name": "x.1", "job": "17", "commands": None})
    return made


def test_a_node_goes_from_pending_to_alive_to_its_record(scene: Scene) -> None:
    assert scene.look() == ("unknown", None)
    assert scene.look("PENDING") == scene.look("RUNNING") == ("pending", None)
    scene.write("agent.json", {})
    assert scene.look("RUNNING") == scene.look("COMPLETING") == ("alive", None)
    scene.write("exit.json", {"why": "ok"})
    assert scene.look("RUNNING") == ("exited", {"why": "ok"})


def test_nothing_is_said_to_run_before_it_was_submitted(scene: Scene) -> None:
    scene.write("../slurm.json", {"name": "x.1", "job": None, "commands": None})
    assert scene.look("RUNNING") == ("absent", None)


def test_while_slurm_is_silent_a_heartbeat_that_changes_is_life(scene: Scene) -> None:
    scene.write("agent.json", {})
    scene.write("heartbeat.json", {"time": 1})
    assert scene.look() == ("unknown", None)  # it may be an old one
    scene.write("heartbeat.json", {"time": 2})
    assert scene.look() == ("alive", None)
    assert scene.look(after=node.BEAT_SECONDS) == ("unknown", None)


def test_it_is_gone_once_slurm_says_so_and_the_heart_has_stopped_for_a_while(scene: Scene) -> None:
    scene.write("agent.json", {})
    for beat in range(20):
        scene.write("heartbeat.json", {"time": beat})
        assert scene.look("NODE_FAIL")[0] == "alive"  # Slurm does not reach the node, and it goes on
    assert scene.look("NODE_FAIL", after=node.BEAT_SECONDS)[0] == "alive"
    assert scene.look("NODE_FAIL", after=node.SETTLE_SECONDS)[0] == "gone"


def test_one_that_was_cancelled_in_the_queue_is_gone_and_was_never_alive(scene: Scene) -> None:
    assert scene.look("PENDING")[0] == "pending"
    assert scene.look("CANCELLED")[0] == "gone"
    scene.write("../slurm-job", 17)  # it began, and is about to leave a record
    assert scene.look("CANCELLED")[0] == "pending"


@pytest.mark.parametrize(
    ("state", "signal", "why"),
    [
        ("CANCELLED", 15, "stopped"),
        ("TIMEOUT", 9, "stopped"),
        ("PREEMPTED", 15, "stopped"),
        ("OUT_OF_MEMORY", 9, "rank_failed"),
        ("FAILED", 15, "rank_failed"),
        ("CANCELLED", 11, "rank_failed"),
    ],
)
def test_a_bad_end_waits_for_slurms_word_and_is_read_in_its_light(
    scene: Scene, state: str, signal: int, why: str
) -> None:
    scene.write("exit.json", {"why": "rank_failed", "first": {"rank": 0, "code": None, "signal": signal}})
    assert scene.look("RUNNING") == scene.look("COMPLETING") == ("alive", None)
    phase, record = scene.look(state)
    assert (phase, record["why"]) == ("exited", why)


def test_a_bad_end_does_not_wait_for_ever(scene: Scene) -> None:
    record = {"why": "rank_failed", "first": {"rank": 0, "code": 3, "signal": None}}
    scene.write("exit.json", record)
    assert scene.look()[0] == "alive"
    assert scene.look(after=node.HOLD_SECONDS) == ("exited", record)


def fake(folder: Path, **programs: str) -> str:
    """Make commands of a Slurm that exists in this test alone; `$0.called` counts."""
    folder.mkdir()
    for name, body in programs.items():
        (folder / name).write_text(f'#!/bin/sh\necho "$*" >>"$0.called"\n{body}\n')
        (folder / name).chmod(0o755)
    return str(folder)


def submit(run_dir: Path, commands: str) -> dict[str, Any]:
    values: dict[str, Any] = {"run_dir": str(run_dir), "attempt": 1, "name": "x.1", "script": "true"}
    job = {"argv": ["train", "{run_dir}/spec.yaml"], "env": {}, "code": "~/code"}
    return dict(node.submit(lambda *_: None, **values, job=job, python="~/python", commands=commands))


def test_a_slurm_that_is_not_there_or_refuses_or_is_silent_is_told_apart(tmp_path: Path) -> None:
    silent = fake(tmp_path / "silent", sbatch="echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1")
    strict = fake(tmp_path / "strict", sbatch="echo 'error: Invalid account' >&2; exit 1", squeue="exit 0")
    absent = fake(tmp_path / "absent", sbatch="exit 127")
    run_dir = tmp_path / "run"
    assert submit(run_dir, absent)["problem"].startswith("has no sbatch; name the folder")
    run_dir = tmp_path / "run2"
    assert submit(run_dir, silent) == {
        "problem": "Slurm does not answer: sbatch: error: Unable to contact slurm controller",
        "refused": False,
    }
    (run_dir / "attempt-1" / "slurm.json").unlink()
    assert submit(run_dir, strict) == {"problem": "Slurm refuses the job: error: Invalid account", "refused": True}


def test_a_job_whose_number_was_lost_is_found_by_its_name_and_directory(tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    # sbatch made a job, and its answer was lost.
    lost = fake(
        tmp_path / "lost",
        sbatch='case "$1" in --test-only) exit 0;; esac; echo "Socket timed out on send/recv operation" >&2; exit 1',
        squeue=f"printf '41|/elsewhere\\n42|{run_dir}\\n'",
    )
    assert submit(run_dir, lost)["refused"] is False
    assert submit(run_dir, lost) == submit(run_dir, lost) == {"job": "42"}
    assert len((tmp_path / "lost" / "sbatch.called").read_text().splitlines()) == 2  # the test and the one


def test_a_job_gets_full_paths_and_no_variables_of_a_job_that_the_dispatcher_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SBATCH_PARTITION", "other")
    monkeypatch.setenv("SLURM_CONF", "/etc/here")
    commands = fake(tmp_path / "bin", sbatch='env >"$0.env"; echo "43;cluster"')
    run_dir = tmp_path / "run"
    assert submit(run_dir, commands) == {"job": "43"}
    job = json.loads((run_dir / "attempt-1" / "job.json").read_text())
    assert job["argv"] == [str(Path.home() / "python"), "train", f"{run_dir}/spec.yaml"]
    assert job["env"] == {"PYTHONPATH": str(Path.home() / "code")}
    seen = (tmp_path / "bin" / "sbatch.env").read_text().splitlines()
    assert "SLURM_CONF=/etc/here" in seen
    assert not any(line.startswith(("SLURM_JOB_ID", "SBATCH_")) for line in seen)
