"""`engine launch PIPELINE` with a real dispatcher: stages side by side, one that fails and is resumed, parts of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.dispatch import lifecycle
from engine.store import attempts, experiments, facts, pipelines
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord
from engine.telemetry.states import State
from tests.cli.conftest import Engine

# A run of kind sim makes a model, whatever the other stages then do with it.
SIM = "kind: sim\nsteps: 4\nstep_seconds: 0\ncheckpoint_every: 2\n"
PIPELINE = """\
pipeline: toy
note: Stages that only pretend.
stages:
  sft: {spec: sim.yaml}
  rm: {spec: sim.yaml, set: {fail_step: 3}}
  ppo: {spec: sim.yaml, after: [sft, rm]}
  eval: {spec: sim.yaml, after: [ppo]}
  eval-sft: {spec: sim.yaml, after: [sft]}
"""
CHAIN = """\
pipeline: chain
stages:
  one: {spec: sim.yaml}
  two: {spec: {kind: sft, model: {path: "${one.model}"}, data: {train: train.jsonl}}}
  three: {spec: {kind: rm, model: {path: "${two.model}"}, data: {train: train.jsonl}}}
  side: {spec: sim.yaml}
"""


class Bench:
    """A folder with a pipeline, and `engine` in it."""

    def __init__(self, folder: Path, engine: Engine, database: Path) -> None:
        self.folder, self.engine, self.database = folder, engine, database
        (folder / "sim.yaml").write_text(SIM)
        (folder / "hostfile").write_text("# plumbline: shared=yes\nlocalhost slots=3\n")
        self.file = folder / "pipeline.yaml"
        self.file.write_text(PIPELINE)

    def launch(self, *arguments: str) -> Any:
        return self.engine("launch", str(self.file), "--set", "placement.slots=1", *self.hosts, *arguments)

    def succeed(self, launch: str, *stages: str) -> None:
        """Let stages of a launch have succeeded, each with a model."""
        with closing(Store.open(self.database)) as store:
            found = pipelines.find(store, launch)
            assert found is not None
            for stage in stages:
                identity = found.stages[stage]
                seat = {"host": "localhost", "index": 0, "slots": 1, "first_rank": 0}
                attempts.begin(store, identity, run_dir=f"/runs/{identity}", placement=[seat])
                made = EventRecord(2.0, 1, "artifact", "m", step=4, data={"kind": "model", "path": "export"})
                assert facts.ingest(store, identity, "events.jsonl", Chunk((made,), 9, (), False), 0)
                attempts.transition(store, identity, 1, State.SUCCEEDED)

    def fail(self, *ids: str, state: State = State.FAILED) -> None:
        """Let experiments end before they began."""
        with closing(Store.open(self.database)) as store:
            for identity in ids:
                experiments.set_state(store, identity, state, reason="r", exit_code=1)

    @property
    def hosts(self) -> tuple[str, str]:
        return ("--hostfile", str(self.folder / "hostfile"))

    def states(self, filter_: str = "") -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.engine("ls", "--filter", filter_, "--json").json}


@pytest.fixture
def bench(tmp_path: Path, engine: Engine, database: Path) -> Iterator[Bench]:
    yield Bench(tmp_path, engine, database)
    if lifecycle.status(database).running:
        store = Store.open(database)
        for each in experiments.unfinished(store):
            engine("stop", each.id, "--now")
            engine("watch", each.id, "--quiet")
        store.close()
        lifecycle.stop(database)


@pytest.fixture
def asleep(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same with another pipeline, and nothing that runs what is queued."""
    monkeypatch.setattr(lifecycle, "ensure_running", lambda database: None)
    bench.file.write_text(CHAIN)
    (bench.folder / "train.jsonl").write_text("{}\n")
    return bench


def spans(store: Store, launch: pipelines.Launch) -> dict[str, tuple[float, float]]:
    """When the last attempt of each stage began and ended."""
    found = {}
    for stage, identity in launch.stages.items():
        last = attempts.list_attempts(store, identity)[-1]
        assert last.started_at is not None and last.ended_at is not None
        found[stage] = (last.started_at, last.ended_at)
    return found


def test_a_failed_stage_is_resumed_and_what_waited_for_it_goes_on_and_nothing_else_runs_again(bench: Bench) -> None:
    failed = bench.launch("--wait", "--tag", "mine")
    assert failed.code == 1
    assert "rm-0001" not in failed.out and "engine resume toy/1 goes on" in failed.err
    well = {"toy-sft": "succeeded", "toy-eval-sft": "succeeded"}
    assert bench.states() == well | {"toy-rm": "failed", "toy-ppo": "failed", "toy-eval": "failed"}
    assert "sim-0003 failed: sim-0002, which it comes after, ended as failed." in failed.err

    resumed = bench.engine("resume", "toy", "--set", "rm.fail_step=null", "--set", "note=again")
    assert resumed.code == 0 and set(resumed.out.split()) == {"sim-0002", "sim-0003", "sim-0004"}
    assert bench.engine("watch", "toy", "--quiet").code == 0
    assert set(bench.states().values()) == {"succeeded"}
    with closing(Store.open(bench.database)) as store:
        launch = pipelines.find(store, "toy")
        assert launch is not None and str(launch) == "toy/1"
        assert list(launch.stages) == ["sft", "rm", "ppo", "eval", "eval-sft"]
        tries = {stage: experiments.get(store, identity).attempts for stage, identity in launch.stages.items()}
        assert tries == {"sft": 1, "rm": 2, "ppo": 1, "eval": 1, "eval-sft": 1}
        times = spans(store, launch)
        assert attempts.list_attempts(store, launch.stages["rm"])[1].resumed_step == 2
        for parent, child in (("sft", "ppo"), ("rm", "ppo"), ("ppo", "eval"), ("sft", "eval-sft")):
            assert times[parent][1] <= times[child][0]
    again = bench.engine("resume", "toy")
    assert again.code == 4 and "toy/1 has no stage that failed or was stopped." in again.err


def test_stages_run_side_by_side_and_a_pipeline_is_stopped_as_a_whole(bench: Bench) -> None:
    endless = ("--set", "steps=1000000", "--set", "step_seconds=0.01")
    assert bench.launch("--skip", "eval*", "--set", "rm.fail_step=null", *endless, "--json").json == [
        {"id": f"sim-000{number}", "stage": stage, "pipeline": "toy/1"}
        for number, stage in enumerate(("sft", "rm", "ppo"), 1)
    ]
    give_up = time.monotonic() + 60
    while bench.states("state:running") != {"toy-sft": "running", "toy-rm": "running"}:
        assert time.monotonic() < give_up, bench.states()
        time.sleep(0.05)
    assert bench.engine("stop", "toy").code == 0
    assert bench.engine("watch", "toy", "--quiet").code == 130
    assert bench.states() == {"toy-sft": "stopped", "toy-rm": "stopped", "toy-ppo": "stopped"}
    nothing = bench.engine("stop", "toy/1")
    assert nothing.code == 4 and "toy/1 has no stage that has not ended." in nothing.err


def test_each_stage_takes_from_that_of_its_own_launch(asleep: Bench) -> None:
    for number in (1, 2):
        launched = asleep.launch()
        assert launched.code == 0 and f"engine watch chain/{number} follows" in launched.err
    shown = asleep.engine("show", "sft-0002", "--json").json
    assert shown["config"]["model.path"] == "${sim-0003.model}"
    assert {"pipeline:chain", "pipeline:chain/2", "stage:two"} == set(shown["tags"])
    assert asleep.engine("show", "rm-0002", "--json").json["config"]["model.path"] == "${sft-0002.model}"
    found = asleep.engine("ls", "--filter", "tag:pipeline:chain/1", "--json").json
    assert {row["id"] for row in found} == {"sim-0001", "sft-0001", "rm-0001", "sim-0002"}
    renamed = asleep.launch("--name", "other", "--skip", "side")
    assert renamed.code == 0
    assert set(asleep.states("tag:pipeline:other/1")) == {"other-one", "other-two", "other-three"}


@pytest.mark.parametrize(
    ("change", "arguments", "code", "says"),
    [
        (("train.jsonl}}}\n  side", "gone.jsonl}}}\n  side"), (), 4, "stage three: needs"),
        (("${one.model}", "${noe.model}"), (), 2, "Did you mean ${one.model}?"),
        (("spec: sim.yaml}\n  two", "experiment: base}\n  two"), (), 3, "there is no database to look it up in"),
        (("a", "a"), ("--only", "three"), 3, "there is no database here"),
        (("a", "a"), ("--only", "thre"), 2, "Did you mean three?"),
        (("a", "a"), ("--set", "two.train.lr=fast"), 2, "--set two.train.lr=fast: train.lr must be a number"),
    ],
)
def test_a_pipeline_with_a_fault_queues_nothing(
    asleep: Bench, change: tuple[str, str], arguments: tuple[str, ...], code: int, says: str
) -> None:
    asleep.file.write_text(CHAIN.replace(*change))
    refused = asleep.engine("launch", str(asleep.file), "--quiet", *arguments)
    assert refused.code == code and says in refused.err
    assert not asleep.database.exists()


def test_earlier_runs_of_one_launch_stand_for_stages_that_are_not_launched(asleep: Bench) -> None:
    asleep.launch()
    asleep.succeed("chain", "one", "two", "three", "side")
    asleep.launch()
    asleep.succeed("chain", "one")
    asleep.fail("sft-0002")
    only = asleep.launch("--only", "three")
    assert only.code == 0
    assert "two is sft-0001, which was launched before." in only.err
    with closing(Store.open(asleep.database)) as store:
        third = pipelines.find(store, "chain")
        assert third is not None and third.number == 3
        # What was made in one launch is not mixed with what was made in another.
        assert third.stages == {"one": "sim-0001", "two": "sft-0001", "side": "sim-0002", "three": "rm-0003"}
    assert asleep.engine("show", "rm-0003", "--json").json["config"]["model.path"] == "/runs/sft-0001/export"

    # What depends on a stage that is launched anew is no part of that launch.
    asleep.launch("--only", "two")
    with closing(Store.open(asleep.database)) as store:
        fourth = pipelines.find(store, "chain")
        assert fourth is not None and set(fourth.stages) == {"one", "two", "side"}


def test_a_stage_that_nothing_stands_for_is_asked_for(asleep: Bench) -> None:
    asleep.launch("--only", "one")
    refused = asleep.launch("--only", "three")
    assert refused.code == 4
    assert "stage three takes from two, which is not launched, and no chain-two has succeeded before." in refused.err
    assert "Launch two, too." in refused.err


def test_an_experiment_may_stand_for_a_stage(asleep: Bench) -> None:
    asleep.launch("--name", "old", "--only", "one")
    asleep.succeed("old", "one")
    asleep.file.write_text(CHAIN.replace("spec: sim.yaml}\n  two", "experiment: old-one}\n  two"))
    launched = asleep.launch()
    assert launched.code == 0 and "one is sim-0001, which was launched before." in launched.err
    assert asleep.engine("show", "chain-two", "--json").json["config"]["model.path"] == "/runs/sim-0001/export"


def test_a_pipeline_that_was_stopped_is_resumed_with_what_never_began(asleep: Bench) -> None:
    asleep.launch()
    asleep.succeed("chain", "one")
    asleep.fail("rm-0001", "sft-0001", "sim-0002", state=State.STOPPED)
    assert asleep.engine("resume", "chain/1").out.split() == ["sft-0001", "rm-0001", "sim-0002"]
    queued = {"chain-two": "queued", "chain-three": "queued", "chain-side": "queued"}
    assert asleep.states() == queued | {"chain-one": "succeeded"}


def test_a_pipeline_is_checked_and_planned_stage_by_stage(asleep: Bench) -> None:
    checked = asleep.engine("validate", str(asleep.file))
    assert checked.out == f"{asleep.file}: valid pipeline of one, two, three, side\n"
    planned = asleep.engine("plan", str(asleep.file), "--json").json
    assert planned["fits"] and planned["stages"] == {
        "one": {"unplanned": "experiments of kind sim are not planned."},
        "two": {"unplanned": "planned at its start, when one has made what it takes."},
        "three": {"unplanned": "planned at its start, when two has made what it takes."},
        "side": {"unplanned": "experiments of kind sim are not planned."},
    }
    asleep.file.write_text(CHAIN.replace('path: "${one.model}"', "architecture: {}"))
    assert asleep.engine("plan", str(asleep.file), "--json").json["stages"]["two"]["fits"]
    too_large = asleep.engine("plan", str(asleep.file), "--gpu-memory", "1MB")
    assert too_large.code == 4 and "two:\nmodel " in too_large.out
    other = asleep.engine("launch", str(asleep.file), str(asleep.folder / "sim.yaml"))
    assert other.code == 2 and "a pipeline is launched by itself" in other.err
    alone = asleep.engine("launch", str(asleep.folder / "sim.yaml"), "--only", "one")
    assert alone.code == 2 and "--only and --skip name stages of a pipeline" in alone.err


def test_settings_of_a_stage_that_is_not_resumed_are_refused(asleep: Bench) -> None:
    asleep.launch()
    asleep.succeed("chain", "one")
    asleep.fail("sft-0001")
    refused = asleep.engine("resume", "chain", "--set", "one.steps=3")
    assert refused.code == 4 and "stage one of chain/1 is succeeded: it is not resumed." in refused.err
    resumed = asleep.engine("resume", "chain", "--set", "two.train.lr=2e-5")
    assert resumed.code == 0
    shown = asleep.engine("show", "sft-0001", "--json").json
    assert (shown["state"], shown["config"]["train.lr"]) == ("queued", 2e-5)
    assert shown["config"]["model.path"] == "/runs/sim-0001/export"
