"""What the reading commands print, for people and for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Engine


def test_ls_prints_the_documented_shape_and_filters_and_sorts(engine: Engine, filled: Path) -> None:
    listed = engine("ls", "--json").json
    assert [row["id"] for row in listed] == ["sft-0002", "sft-0001"]
    first = listed[1]
    assert first["name"] == "first" and first["step"] == first["total_steps"] == 20 and first["progress"] == 1.0
    assert first["last"]["loss"] == pytest.approx(0.2) and first["tags"] == ["base"]
    assert [row["id"] for row in engine("ls", "--filter", "tag:base", "--json").json] == ["sft-0001"]
    assert [row["id"] for row in engine("ls", "--filter", "-tag:base", "--json").json] == ["sft-0002"]
    assert [row["id"] for row in engine("--json", "ls", "--sort", "id").json] == ["sft-0001", "sft-0002"]
    unknown = engine("ls", "--filter", "stat:running")
    assert unknown.code == 2 and "Did you mean state?" in unknown.err


def test_metrics_has_one_point_a_step_and_says_what_is_not_finite(engine: Engine, filled: Path) -> None:
    document = engine("metrics", "first", "--json").json
    assert document["id"] == "sft-0001"
    loss = document["series"]["loss"]
    assert loss["step"] == list(range(1, 21)) and len(set(loss["time"])) == 20
    assert loss["value"][-1] == pytest.approx(0.2) and loss["unit"]
    assert document["series"]["grad_norm"]["value"] == [None]
    assert document["series"]["grad_norm"]["nonfinite"] == {"20": "nan"}
    last = engine("metrics", "first", "--last", "--json").json
    assert last["metrics"]["grad_norm"] is None and last["metrics"]["grad_norm_nonfinite"] == "nan"
    csv = engine("metrics", "first", "--name", "loss", "--format", "csv").out.splitlines()
    assert csv[0] == "name,step,time,value" and len(csv) == 21
    missing = engine("metrics", "first", "--name", "los")
    assert missing.code == 2 and "loss" in missing.err


def test_samples_and_show_never_obey_what_the_model_wrote(engine: Engine, filled: Path) -> None:
    assert "\x1b" not in engine("samples", "first").out
    assert engine("samples", "first", "--json").json[0]["response"] == "In \x1b[31mZelt."
    shown = engine("show", "first", "--json").json
    assert shown["artifacts"][0]["path"] == "/x/export" and shown["config"]["train.lr"] == 2e-5
    (verdict,) = shown["health"]
    assert verdict["rule"] == "not_finite" and verdict["level"] == "error" and verdict["step"] == 20
    told = engine("show", "sft-0001").out
    assert "first" in told and "health    error: grad_norm is no finite number since step 20." in told


def test_compare_shows_only_the_keys_that_differ(engine: Engine, filled: Path) -> None:
    document = engine("compare", "first", "second", "--json").json
    assert document["experiments"] == ["sft-0001", "sft-0002"]
    assert document["config"] == {"train.lr": [2e-5, 1e-4]}
    assert document["metrics"]["loss"] == [pytest.approx(0.2), None]
    everything = engine("compare", "first", "second", "--all", "--json").json
    assert everything["config"]["kind"] == ["sft", "sft"]


def test_an_unknown_experiment_is_code_3_and_an_error_document(engine: Engine, filled: Path) -> None:
    result = engine("show", "frist", "--json")
    assert result.code == 3
    assert result.json["error"]["code"] == 3 and result.json["error"]["message"]
    assert "first" in result.err and "Traceback" not in result.err


def test_a_missing_database_is_code_3_and_is_not_made(engine: Engine, database: Path) -> None:
    assert engine("ls").code == 3
    assert not database.exists()


def test_query_reads_and_never_writes(engine: Engine, filled: Path) -> None:
    assert engine("db", "query", "select count(*) as n from experiments", "--json").json == [{"n": 2}]
    refused = engine("db", "query", "delete from experiments")
    assert refused.code == 2 and len(engine("ls", "--json").json) == 2


def test_bookkeeping_is_reversible_but_delete_asks(engine: Engine, filled: Path) -> None:
    assert engine("archive", "first").code == 0
    assert [row["id"] for row in engine("ls", "--json").json] == ["sft-0002"]
    assert len(engine("ls", "--all", "--json").json) == 2
    assert engine("restore", "sft-0001").code == 0
    assert engine("tag", "first", "good", "old").code == 0
    assert engine("tag", "first", "old", "--remove").code == 0
    assert engine("note", "first", "lr too high").code == 0
    assert engine("rename", "first", "best").code == 0
    best = engine("show", "best", "--json").json
    assert set(best["tags"]) == {"base", "good"} and best["note"] == "lr too high"
    assert engine("delete", "best").code == 4
    assert len(engine("ls", "--json").json) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lanch",), "Did you mean launch?"),
        (("ls", "--jsn"), "--json"),
        (("compare", "first"), "two experiments"),
        (("logs", "first", "--grep", "("), "not a regular expression"),
    ],
)
def test_wrong_usage_is_code_2_and_one_sentence(
    engine: Engine, filled: Path, arguments: tuple[str, ...], says: str
) -> None:
    result = engine(*arguments)
    assert result.code == 2
    assert says in result.err and "Traceback" not in result.err and len(result.err.strip().splitlines()) == 1


def test_bookkeeping_is_undone_and_done_again(engine: Engine, filled: Path) -> None:
    assert engine("archive", "sft-0001", "sft-0002").code == 0
    assert engine("--json", "ls").json == []
    assert [row["id"] for row in engine("--json", "ls", "--filter", "archived:yes", "--sort", "id").json] == [
        "sft-0001",
        "sft-0002",
    ]
    undone = engine("undo")
    assert (undone.code, undone.out.split()) == (0, ["sft-0001", "sft-0002"])
    assert "Undone: archived 2 runs." in undone.err
    assert engine("--json", "redo").json == {"what": "archived 2 runs", "ids": ["sft-0001", "sft-0002"]}
    assert engine("undo").code == 0 and len(engine("--json", "ls").json) == 2
    assert engine("pin", "sft-0001").code == 0
    assert [row["id"] for row in engine("--json", "ls").json] == ["sft-0001", "sft-0002"]
    assert engine("undo").code == 0
    refused = engine("undo")
    assert (refused.code, refused.err) == (4, "error: there is nothing to undo.\n")


def test_a_filter_asks_for_specs_and_metrics_and_says_where_it_is_wrong(engine: Engine, filled: Path) -> None:
    assert [row["id"] for row in engine("--json", "ls", "--filter", "cfg.lr=1e-4").json] == ["sft-0002"]
    assert [row["id"] for row in engine("--json", "ls", "--filter", "last.loss<1 cfg.lr>0").json] == ["sft-0001"]
    wrong = engine("ls", "--filter", "kind:sft stat:x")
    assert (wrong.code, wrong.err) == (2, "error: filter, character 10: there is no key stat. Did you mean state?\n")


def test_ls_writes_a_file_as_its_name_says_and_never_over_another_one(
    engine: Engine, filled: Path, tmp_path: Path
) -> None:
    files = [tmp_path / f"runs.{style}" for style in ("csv", "json", "html")]
    for file in files:
        done = engine("ls", "--sort", "id", "-o", str(file), "--json")
        assert done.code == 0 and done.json["experiments"] == ["sft-0001", "sft-0002"]
    rows = list(csv.DictReader(files[0].read_text().splitlines()))
    assert [row["id"] for row in rows] == ["sft-0001", "sft-0002"] and float(rows[0]["last.loss"]) == 0.2
    assert rows[0]["last.grad_norm"] == "nan" and rows[1]["parent"] == "sft-0001" and rows[1]["last.loss"] == ""
    assert json.loads(files[1].read_text()) == engine("ls", "--sort", "id", "--json").json
    assert "<title>2 experiments</title>" in files[2].read_text()
    refused = engine("ls", "--filter", "tag:base", "-o", str(files[2]))
    assert refused.code == 4 and "is there already" in refused.err and "--force" in refused.err
    assert engine("ls", "--filter", "tag:base", "-o", str(files[2]), "--force").code == 0
    assert "<title>1 experiment</title>" in files[2].read_text()
    assert engine("ls", "-o", str(tmp_path / "runs.xls")).code == 2


def test_a_page_of_one_run_is_the_same_by_compare_and_by_export(engine: Engine, filled: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert engine("compare", "first", "-o", str(page)).code == 0
    exported = engine("export", "first", "--to", str(tmp_path / "out"), "--format", "html", "--json").json
    assert exported["files"] == ["sft-0001.html"]
    assert (tmp_path / "out" / "sft-0001.html").read_bytes() == page.read_bytes() and b"\x1b" not in page.read_bytes()
    assert engine("compare", "first").code == 2 and engine("compare", "first", "-o", "x.md").code == 2
    both = engine("compare", "first", "second", "-o", str(page))
    assert both.code == 4 and "is there already" in both.err
    assert engine("compare", "first", "second", "-o", str(page), "--force", "--json").json["notes"] == []
    assert "1 of " in page.read_text() and "train.lr" in page.read_text()
