"""`engine export`: the model, the run or the numbers of an experiment, in a folder of this machine."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from engine.job.durable import folder_hash
from engine.spec.loading import parse_spec
from engine.store import attempts, experiments, facts
from engine.store.database import Store
from engine.telemetry.reader import Chunk
from engine.telemetry.records import EventRecord
from tests.cli.conftest import SPEC, Engine
from tests.cluster.apart import Apart, node_fixtures, write

RUN = "~/work/sft-0001-abcdef"


module_nodes, nodes = node_fixtures(2)


def run_on(nodes: Apart, database: Path) -> None:
    """An experiment that ran on two nodes, each with a run directory of its own, and exported its model on node-1."""
    for index, home in enumerate(nodes.homes, 1):
        write(home / "work/sft-0001-abcdef" / f"checkpoints/step-2/shard-{index}.pt", 1000 * index)
    model = nodes.homes[0] / "work/sft-0001-abcdef/export"
    for name in ("model.safetensors", "config.json"):
        write(model / name, 2000)
    text = nodes.testbed.hostfile.read_text()
    store = Store.open(database)
    identity = experiments.create(store, parse_spec(SPEC), name="first", hostfile_text=text)
    seats = [{"host": f"node-{number + 1}", "index": number, "slots": 1, "first_rank": number} for number in (0, 1)]
    attempts.begin(store, identity, run_dir=RUN, placement=seats)
    made = {"kind": "model", "path": "export", "sha256": folder_hash(model)}
    event = EventRecord(1_700_000_022.0, 1, "artifact", "Exported.", data=made)
    assert facts.ingest(store, identity, "events.jsonl", Chunk((event,), 50, (), False), 0)
    store.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_model_comes_back_as_it_was_written_down(
    engine: Engine, nodes: Apart, database: Path, tmp_path: Path
) -> None:
    run_on(nodes, database)
    done = engine("export", "first", "--to", str(tmp_path / "out"), "--json")
    assert done.code == 0, done.err
    model = nodes.homes[0] / "work/sft-0001-abcdef/export"
    assert files_of(tmp_path / "out") == files_of(model)
    assert done.json == {
        "id": "sft-0001",
        "to": str(tmp_path / "out"),
        "path": f"{RUN}/export",
        "files": 2,
        "bytes": 4000,
        "copied_bytes": 4000,
        "sha256": folder_hash(model),
    }
    again = engine("export", "first", "--to", str(tmp_path / "out"), "--what", "model", "--json")
    assert again.json["copied_bytes"] == 0


def test_a_model_that_was_changed_since_fails(engine: Engine, nodes: Apart, database: Path, tmp_path: Path) -> None:
    run_on(nodes, database)
    write(nodes.homes[0] / "work/sft-0001-abcdef/export/config.json", 2000)
    done = engine("export", "first", "--to", str(tmp_path / "out"))
    assert done.code == 1
    assert "was changed since" in done.err


def test_checkpoints_of_rank_0_or_all_shards_of_all_nodes(
    engine: Engine, nodes: Apart, database: Path, tmp_path: Path
) -> None:
    run_on(nodes, database)
    assert engine("export", "first", "--to", str(tmp_path / "one"), "--what", "checkpoints").code == 0
    assert list(files_of(tmp_path / "one")) == ["step-2/shard-1.pt"]
    done = engine("export", "first", "--to", str(tmp_path / "all"), "--all-shards", "--json")
    assert done.code == 0, done.err
    assert sorted(files_of(tmp_path / "all")) == [
        "node-0/checkpoints/step-2/shard-1.pt",
        "node-0/export/config.json",
        "node-0/export/model.safetensors",
        "node-1/checkpoints/step-2/shard-2.pt",
    ]
    assert list(done.json["nodes"]) == ["node-0", "node-1"]


def test_what_there_is_not_is_told_by_what_there_is(
    engine: Engine, nodes: Apart, database: Path, tmp_path: Path
) -> None:
    run_on(nodes, database)
    to = ("--to", str(tmp_path / "out"))
    done = engine("export", "first", *to, "--what", "policy")
    assert (done.code, "has no policy: it has model." in done.err) == (3, True)
    assert engine("export", "none", *to).code == 3
    assert engine("export", "first", *to, "--all-shards", "--what", "model").code == 2
    nodes.testbed.stop_node(1)
    try:
        assert engine("export", "first", *to).code == 5
    finally:
        nodes.testbed.start_node(1)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    assert engine("export", "first", *to).code == 4
    assert not (tmp_path / "out/config.json").exists()


@pytest.mark.usefixtures("filled")
def test_numbers_are_written_so_that_they_read_back_the_same(engine: Engine, tmp_path: Path) -> None:
    folder = tmp_path / "numbers"
    for style in ("csv", "jsonl"):
        assert engine("export", "first", "--to", str(folder), "--format", style).code == 0
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    losses = [float(row["value"]) for row in rows if row["name"] == "loss"]
    assert losses == [4.0 / step for step in range(1, 21)]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["value"] for line in lines if line["name"] == "loss"] == losses
    (diverged,) = (line for line in lines if line["name"] == "grad_norm")
    assert diverged["value"] is None and math.isnan(float(diverged["nonfinite"]))
    with (folder / "samples.csv").open(newline="") as file:
        (sample,) = csv.DictReader(file)
    assert sample["response"] == "In \x1b[31mZelt."
    assert json.loads((folder / "samples.jsonl").read_text())["prompt"] == "Where was Ono born?"
    (folder / "metrics.csv").write_text("mine")
    assert engine("export", "first", "--to", str(folder), "--format", "csv").code == 4
    assert (folder / "metrics.csv").read_text() == "mine"
