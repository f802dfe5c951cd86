"""A pipeline of specs: references are looked up at launch, shown as lineage, and refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.dispatch import lifecycle
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.store.inputs import Input
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord
from engine.telemetry.states import State
from tests.cli.conftest import SPEC, Engine

RM = "kind: rm\nname: facts-rm\nmodel: {path: '${facts-sft.model}'}\ndata: {train: pairs.jsonl}\n"
SHA = "1a2b3c4d5e6f" + "0" * 52


@pytest.fixture
def house(database: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with rm.yaml, and a database in which facts-sft, sft-0001, has made a model."""
    export = tmp_path / "run" / "export"
    export.mkdir(parents=True)
    shape = {"model_type": "llama", "vocab_size": 90, "hidden_size": 32, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 2, "intermediate_size": 48}
    (export / "config.json").write_text(json.dumps(shape))
    for name in ("pairs.jsonl", "train.jsonl"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "rm.yaml").write_text(RM)
    store = Store.open(database)
    parent = experiments.create(store, parse_spec(SPEC), name="facts-sft")
    seat = {"host": "localhost", "index": 0, "slots": 1, "first_rank": 0}
    attempts.begin(store, parent, run_dir=str(export.parent), placement=[seat])
    made = EventRecord(2.0, 1, "artifact", "m", step=600, data={"kind": "model", "path": "export", "sha256": SHA})
    assert facts.ingest(store, parent, "events.jsonl", Chunk((made,), 9, (), False), 0)
    attempts.transition(store, parent, 1, State.SUCCEEDED)
    # It fails when it is to begin, and whatever comes after it never does.
    experiments.create(store, parse_spec(SPEC.replace("train.jsonl", "/gone.jsonl")), name="never")
    store.close()
    yield tmp_path
    lifecycle.stop(database)


def test_launch_takes_the_output_of_an_earlier_stage_and_show_tells_from_where(engine: Engine, house: Path) -> None:
    launched = engine("launch", str(house / "rm.yaml"), "--after", "never", "--json")
    assert (launched.code, launched.json) == (0, [{"id": "rm-0001"}])
    assert f"${{facts-sft.model}} is {house}/run/export, made by sft-0001 (step 600, sha 1a2b3c4d5e6f)." in launched.err

    shown = engine("show", "facts-rm", "--json").json
    assert shown["config"]["model.path"] == f"{house}/run/export"
    assert shown["inputs"] == [
        {
            "reference": "${facts-sft.model}",
            "path": f"{house}/run/export",
            "parent_id": "sft-0001",
            "parent": "facts-sft",
            "kind": "model",
            "sha256": SHA,
            "step": 600,
            "keys": ["model.path"],
        }
    ]
    text = engine("show", "facts-rm").out
    assert "from      facts-sft (sft-0001, step 600, sha 1a2b3c4d5e6f): model.path" in text
    assert engine("show", "facts-sft", "--json").json["used_by"] == ["rm-0001"]
    assert "used by   rm-0001" in engine("show", "facts-sft").out

    for arguments in (("clone", "facts-rm"), ("new", "rm", "--from", "facts-rm")):
        assert parse_spec(engine(*arguments).out).model_dump()["model"]["path"] == "${sft-0001.model}"


@pytest.mark.parametrize(
    ("setting", "code", "says"),
    [
        ("${facts-stf.model}", 4, "there is no experiment 'facts-stf'. Did you mean facts-sft?"),
        ("${facts-sft.policy}", 4, "has no artifact policy: it has model. Write ${facts-sft.model}."),
        ("${facts-sft}", 2, "model.path is ${facts-sft}, which is no reference."),
        ("${facts-sft.run}/tokenizer", 4, "/run/tokenizer, which is not there."),
    ],
)
def test_what_a_reference_cannot_mean_is_one_sentence_and_nothing_is_queued(
    engine: Engine, house: Path, setting: str, code: int, says: str
) -> None:
    refused = engine("launch", str(house / "rm.yaml"), "--set", f"model.path={setting}", "--quiet")
    assert refused.code == code and says in refused.err and str(house / "rm.yaml") in refused.err
    assert len(refused.err.splitlines()) == 1
    assert len(engine("ls", "--json").json) == 2


def test_a_launch_waits_for_what_is_still_to_be_made(engine: Engine, house: Path) -> None:
    launched = engine("launch", str(house / "rm.yaml"), "--set", "model.path=${never.model}")
    assert launched.code == 0 and "It begins when sft-0002 has made what it takes." in launched.err
    assert engine("show", "facts-rm", "--json").json["config"]["model.path"] == "${sft-0002.model}"


def test_nodes_that_cannot_see_the_parent_are_sent_what_it_made(engine: Engine, house: Path) -> None:
    (house / "hostfile").write_text("far-1 slots=1\nfar-2 slots=1\n")
    launched = engine("launch", str(house / "rm.yaml"), "--hostfile", str(house / "hostfile"), "--after", "never")
    assert launched.code == 0
    assert [each["path"] for each in engine("show", "facts-rm", "--json").json["inputs"]] == [f"{house}/run/export"]


def test_only_what_other_machines_made_may_be_absent_from_this_one(engine: Engine, house: Path, database: Path) -> None:
    store = Store.open(database)
    far = experiments.create(store, parse_spec(SPEC), name="far-sft", hostfile_text="far-1 slots=1\n")
    seat = {"host": "far-1", "index": 0, "slots": 1, "first_rank": 0}
    attempts.begin(store, far, run_dir="/far/run", placement=[seat])
    attempts.transition(store, far, 1, State.SUCCEEDED)
    store.close()
    setting = ("--set", "model.path=${far-sft.run}/export", "--after", "never")
    assert engine("launch", str(house / "rm.yaml"), *setting).code == 0
    refused = engine("launch", str(house / "rm.yaml"), *setting, "--set", "data.train=gone.jsonl", "--quiet")
    assert refused.code == 4 and refused.err.endswith(f"needs {house}/gone.jsonl, which is not there.\n")


def test_commands_without_a_database_say_what_a_reference_needs(engine: Engine, house: Path) -> None:
    assert engine("validate", str(house / "rm.yaml")).out.endswith("valid rm spec that takes ${facts-sft.model}\n")
    wrong = engine("validate", str(house / "rm.yaml"), "--set", "model.path=${HOME}/sft")
    assert wrong.code == 2 and "is no reference" in wrong.err
    trained = engine("train", str(house / "rm.yaml"))
    assert trained.code == 4 and "--set model.path=FOLDER" in trained.err
    elsewhere = engine("launch", str(house / "rm.yaml"), "--db", str(house / "other.db"))
    assert elsewhere.code == 3 and f"no database to look it up in: {house}/other.db" in elsewhere.err
    assert not (house / "other.db").exists()


def test_plan_reads_the_shape_of_the_model_that_a_reference_means(engine: Engine, house: Path) -> None:
    (house / "sft.yaml").write_text("kind: sft\nmodel: {path: '${facts-sft.model}'}\ndata: {train: train.jsonl}\n")
    planned = engine("plan", str(house / "sft.yaml"), "--json")
    assert planned.code == 0 and planned.json["model"]["family"] == "llama"
    # What runs without a database is told the path.
    assert all(f"--set model.path={house}/run/export" in command for command in planned.json["commands"].values())


def test_a_resumed_run_takes_what_its_new_setting_means(engine: Engine, house: Path, database: Path) -> None:
    engine("launch", str(house / "rm.yaml"), "--after", "never")
    assert engine("watch", "facts-rm", "--quiet").code == 1
    assert engine("resume", "facts-rm", "--set", "train.lr=1e-5", "--set", "data.eval=${facts-sft.run}").code == 0
    taken = {each["path"]: each["keys"] for each in engine("show", "facts-rm", "--json").json["inputs"]}
    assert taken == {f"{house}/run/export": ["model.path"], f"{house}/run": ["data.eval"]}


def test_a_path_of_the_nodes_stays_theirs_when_another_key_is_set(engine: Engine, house: Path, database: Path) -> None:
    store = Store.open(database)
    taken = Input("${facts-sft.model}", "~/work/sft-0001/export", "sft-0001", "model", SHA, 600)
    spec = parse_spec(RM, overrides=[f"model.path={taken.path}"])
    child = experiments.create(store, spec, hostfile_text="far-1 slots=1\n", after=["sft-0002"], inputs=[taken])
    experiments.set_state(store, child, State.STOPPED)
    store.close()
    assert engine("resume", child, "--set", "train.lr=1e-5").code == 0
    assert engine("show", child, "--json").json["config"]["model.path"] == taken.path
